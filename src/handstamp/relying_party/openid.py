"""Sign-in with any OpenID provider: authorization code with PKCE, state and nonce (OpenID Connect Core §3.1, RFC 9700)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from ..crypto.identifiers import hash_secret, new_id, new_secret
from ..crypto.strict import base64url_encode, json_decode
from ..domain.provider import ProviderIdentity, ProviderLogout, ProviderRequest, ProviderSettings, ProviderTokens
from ..errors import InvalidProviderAnswer, InvalidToken, ProviderRefused, ProviderUnavailable
from ..outbound.client import Outbound
from ..service.parts.providers import Begun, Prompt
from ..verify.jwks import WouldWait
from .answers import read_code
from .client_auth import ClientAuth
from .discovery import Discovery, Metadata
from .http import LeftS, fetch_json, post_form, run_in_thread
from .id_token import (
    MAX_EMAIL_LENGTH,
    MAX_ID_TOKEN_LENGTH,
    MAX_SUBJECT_LENGTH,
    Expected,
    check_id_token,
    read_auth_time,
    read_email,
    read_methods,
    read_name,
    read_subject,
    read_text,
    says_true,
)
from .issuers import IssuerRule
from .keys import ProviderKeys
from .logout import MAX_LOGOUT_TOKEN_LENGTH, TYPES, read_logout_token
from .tokens import read_tokens

MAX_USERINFO_BYTES = 64 * 1024
_OF_USERINFO = ("email", "email_verified", "name")
"""What is taken from there. Everything else is in the ID token, or is not used."""


class OpenIdProvider:
    """One OpenID provider. It keeps what the provider says about itself, and its keys; nothing about people."""

    def __init__(self, settings: ProviderSettings, auth: ClientAuth, outbound: Outbound) -> None:
        """Create it without a request."""
        self._settings = settings
        self._auth = auth
        self._outbound = outbound
        self._issuers = IssuerRule(settings)
        self._discovery = Discovery(outbound, settings.issuer, published=self._issuers.published)
        self._keys = ProviderKeys(outbound)

    @property
    def settings(self) -> ProviderSettings:
        """What the operator says about it."""
        return self._settings

    @property
    def posts_answer(self) -> bool:
        """Whether its answer comes as a form: Apple's does, as soon as a name or an address is asked for."""
        return self._settings.preset == "apple"

    async def begin(
        self, state: str, *, redirect_uri: str, prompt: Prompt = "", login_hint: str = "", max_age_s: int | None = None
    ) -> Begun:
        """Return where the browser goes, as `Provider.begin` describes."""
        metadata = await self._describe_itself()
        request = ProviderRequest(
            provider=self._settings.name,
            state=state,
            nonce=new_id(),
            verifier=new_secret(),
            redirect_uri=redirect_uri,
            max_age_s=max_age_s,
        )
        fields = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": request.nonce,
            "code_challenge": challenge_of(request.verifier),
            "code_challenge_method": "S256",
        }
        if self.posts_answer:
            fields["response_mode"] = "form_post"
        if self._settings.preset == "google" and self._settings.keeps_tokens:
            fields["access_type"] = "offline"
        if prompt:
            fields["prompt"] = prompt
        if login_hint:
            fields["login_hint"] = login_hint[:MAX_EMAIL_LENGTH]
        if max_age_s is not None:
            fields["max_age"] = str(max_age_s)
        return Begun(extend_url(metadata.authorization_endpoint, fields), request)

    async def finish(self, request: ProviderRequest, answer: Mapping[str, str], *, now_ms: int) -> ProviderIdentity:
        """Return who has signed in, as `Provider.finish` describes."""
        metadata = await self._describe_itself()
        code = read_code(
            request,
            answer,
            provider=self._settings.name,
            accepts_issuer=self._issuers.accepts_answer,
            names_issuer=metadata.authorization_response_iss_parameter_supported is True,
        )

        def finish(left_s: LeftS) -> ProviderIdentity:
            claims, tokens = self._redeem(metadata, request, code, now_ms, left_s)
            return self._describe(claims, tokens, answer)

        return await run_in_thread(self._outbound, metadata.token_endpoint, finish)

    async def renew(self, tokens: ProviderTokens, *, now_ms: int) -> ProviderTokens:
        """Return new tokens, as `Provider.renew` describes."""
        if not tokens.refresh_token:
            raise ProviderRefused(why="there is no refresh token")

        metadata = await self._describe_itself()

        def renew(left_s: LeftS) -> ProviderTokens:
            form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
            try:
                members = self._ask_tokens(metadata, form, now_ms, left_s)
            except InvalidProviderAnswer:
                raise ProviderRefused(why="the refresh token is not accepted any more") from None
            return read_tokens(members, now_ms=now_ms, previous=tokens)

        return await run_in_thread(self._outbound, metadata.token_endpoint, renew)

    async def read_logout(self, token: str, *, now_ms: int) -> ProviderLogout:
        """Return what a logout token says, as `Provider.read_logout` describes."""
        metadata = await self._describe_itself()
        try:  # without a thread, because everybody can send such tokens
            verified = self._keys.verify_known(token, metadata, typs=TYPES, max_length=MAX_LOGOUT_TOKEN_LENGTH)
        except WouldWait:
            verify = partial(self._keys.verify, token, metadata, typs=TYPES, max_length=MAX_LOGOUT_TOKEN_LENGTH)
            verified = await run_in_thread(self._outbound, metadata.jwks_uri, lambda _: verify())
        return read_logout_token(
            verified,
            self._issuers,
            provider=self._settings.name,
            client_id=self._settings.client_id,
            now_s=now_ms // 1000,
        )

    async def _describe_itself(self) -> Metadata:
        metadata = self._discovery.current()
        if metadata is None:
            metadata = await run_in_thread(self._outbound, self._discovery.url, self._discovery.load)
        return metadata

    def _redeem(
        self, metadata: Metadata, request: ProviderRequest, code: str, now_ms: int, left_s: LeftS
    ) -> tuple[Mapping[str, Any], ProviderTokens]:
        """Exchange a code, and return what the provider says about the person, verified, and its tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": request.redirect_uri,
            "code_verifier": request.verifier,
        }
        members = self._ask_tokens(metadata, form, now_ms, left_s)
        tokens = read_tokens(members, now_ms=now_ms)
        id_token = members.get("id_token")
        if not isinstance(id_token, str):
            raise InvalidProviderAnswer("there is no ID token")
        expected = Expected(self._issuers, self._settings.client_id, request.nonce, tokens.access_token, request.max_age_s)
        try:
            verified = self._keys.verify(id_token, metadata, typs=("", "jwt"), max_length=MAX_ID_TOKEN_LENGTH)
            check_id_token(verified, expected, now_s=now_ms // 1000)
        except InvalidToken as invalid:
            raise InvalidProviderAnswer(f"the ID token is not valid: {invalid.why}") from None
        claims = verified.claims
        if "email" in self._settings.scopes and "email" not in claims and metadata.userinfo_endpoint:
            more = self._ask_userinfo(metadata.userinfo_endpoint, tokens, read_subject(claims), left_s)
            claims = {**{name: more[name] for name in _OF_USERINFO if name in more}, **claims}
        return claims, tokens

    def _ask_tokens(self, metadata: Metadata, form: Mapping[str, str], now_ms: int, left_s: LeftS) -> Mapping[str, Any]:
        credentials = self._auth.credentials(metadata, now_ms // 1000)
        return post_form(
            self._outbound,
            metadata.token_endpoint,
            {**form, **credentials.form},
            headers=credentials.headers,
            deadline_s=left_s(),
        )

    def _ask_userinfo(self, url: str, tokens: ProviderTokens, subject: str, left_s: LeftS) -> dict[str, Any]:
        """Return what the provider says beside the ID token. It must be about the same person (§5.3.2)."""
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        try:
            answer = fetch_json(self._outbound, url, deadline_s=left_s(), max_bytes=MAX_USERINFO_BYTES, headers=headers)
            claims = json_decode(answer.body, dict[str, Any])
        except InvalidToken:
            raise ProviderUnavailable("the answer about the person is no JSON object") from None
        if claims.get("sub") != subject:
            raise InvalidProviderAnswer("the answer about the person is about another one")
        return claims

    def _describe(self, claims: Mapping[str, Any], tokens: ProviderTokens, answer: Mapping[str, str]) -> ProviderIdentity:
        email = read_email(claims)
        # Microsoft lets each tenant write any address, and any other claim, into its tokens. Only `xms_edov` is Microsoft's own.
        verified = claims.get("xms_edov" if self._settings.preset == "microsoft" else "email_verified")
        return ProviderIdentity(
            provider=self._settings.name,
            issuer=str(claims["iss"]),
            subject=read_subject(claims),
            email=email,
            email_verified=bool(email) and (says_true(verified) or self._settings.trusts_email),
            name=read_name(claims.get("name")) or (_read_posted_name(answer.get("user", "")) if self.posts_answer else ""),
            amr=read_methods(claims),
            auth_time_s=read_auth_time(claims),
            session_id=read_text(claims, "sid", most=MAX_SUBJECT_LENGTH),
            tokens=tokens if self._settings.keeps_tokens else None,
        )


def challenge_of(verifier: str) -> str:
    """Return the challenge of a verifier of PKCE, by S256 (RFC 7636 §4.2)."""
    return base64url_encode(hash_secret(verifier))


def extend_url(url: str, fields: Mapping[str, str]) -> str:
    """Return a URL with more fields in its query (RFC 6749 §3.1 lets it have one)."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"


def _read_posted_name(user: str) -> str:
    """Return the name in Apple's field `user`, which comes with the first sign-in alone and is not signed."""
    try:
        name = json_decode(user.encode()[:4096], dict[str, Any]).get("name")
    except (InvalidToken, UnicodeEncodeError):
        return ""
    if not isinstance(name, dict):
        return ""
    parts = (name.get("firstName"), name.get("lastName"))
    return read_name(" ".join(part for part in parts if isinstance(part, str)))

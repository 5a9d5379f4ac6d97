"""Sign-in with GitHub, which is no OpenID provider: OAuth 2, then two questions to its API about the person.

There is no ID token: that the answers are true follows from asking GitHub itself over TLS, with a token that it has just issued
to this service for a code that only this browser's request could redeem (PKCE).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from ..crypto.identifiers import new_secret
from ..domain.provider import ProviderIdentity, ProviderLogout, ProviderRequest, ProviderSettings, ProviderTokens
from ..errors import InvalidProviderAnswer, InvalidToken, ProviderRefused, ProviderUnavailable
from ..outbound.client import Outbound
from ..service.parts.providers import Begun, Prompt
from .answers import read_code
from .http import LeftS, fetch_json, post_form, run_in_thread
from .id_token import MAX_EMAIL_LENGTH, read_email, read_name
from .openid import challenge_of, extend_url
from .tokens import read_tokens

MAX_API_BYTES = 256 * 1024
_MAX_ID = 2**63
_T = TypeVar("_T")
_API = "https://api.github.com"


class _User(msgspec.Struct, frozen=True):
    """What `GET /user` answers. The login is left out: people can change it, and then others can have it."""

    id: int
    name: str | None = None


class _Email(msgspec.Struct, frozen=True):
    """One address of `GET /user/emails`."""

    email: str
    primary: bool = False
    verified: bool = False


class GitHubProvider:
    """GitHub, or an installation of GitHub Enterprise Server."""

    def __init__(self, settings: ProviderSettings, secret: str, outbound: Outbound) -> None:
        """Create it without a request."""
        self._settings = settings
        self._secret = secret
        self._outbound = outbound
        issuer = settings.issuer
        self._authorize = f"{issuer}/login/oauth/authorize"
        self._token = f"{issuer}/login/oauth/access_token"
        self._api = _API if urlsplit(issuer).hostname == "github.com" else f"{issuer}/api/v3"

    @property
    def settings(self) -> ProviderSettings:
        """What the operator says about it."""
        return self._settings

    @property
    def posts_answer(self) -> bool:
        """Return False: its answer is in a query."""
        return False

    async def begin(
        self, state: str, *, redirect_uri: str, prompt: Prompt = "", login_hint: str = "", max_age_s: int | None = None
    ) -> Begun:
        """Return where the browser goes, as `Provider.begin` describes. GitHub cannot be asked for a new sign-in."""
        if max_age_s is not None or prompt == "none":
            raise ProviderUnavailable("GitHub does not say when a person has signed in, and always may ask")
        request = ProviderRequest(
            provider=self._settings.name, state=state, nonce="", verifier=new_secret(), redirect_uri=redirect_uri
        )
        fields = {
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "code_challenge": challenge_of(request.verifier),
            "code_challenge_method": "S256",
        }
        if prompt:
            fields["prompt"] = "select_account"
        if login_hint:
            fields["login"] = login_hint[:MAX_EMAIL_LENGTH]
        return Begun(extend_url(self._authorize, fields), request)

    async def finish(self, request: ProviderRequest, answer: Mapping[str, str], *, now_ms: int) -> ProviderIdentity:
        """Return who has signed in, as `Provider.finish` describes."""
        code = read_code(
            request,
            answer,
            provider=self._settings.name,
            accepts_issuer=lambda issuer: issuer in (self._settings.issuer, f"{self._settings.issuer}/login/oauth"),
            names_issuer=False,
        )

        def finish(left_s: LeftS) -> ProviderIdentity:
            form = {"code": code, "redirect_uri": request.redirect_uri, "code_verifier": request.verifier}
            tokens = read_tokens(self._ask_tokens(form, left_s), now_ms=now_ms)
            return self._describe(tokens, left_s)

        return await run_in_thread(self._outbound, self._token, finish)

    async def renew(self, tokens: ProviderTokens, *, now_ms: int) -> ProviderTokens:
        """Return new tokens, as `Provider.renew` describes. Only GitHub Apps have tokens that expire."""
        if not tokens.refresh_token:
            raise ProviderRefused(why="there is no refresh token")

        def renew(left_s: LeftS) -> ProviderTokens:
            try:
                members = self._ask_tokens({"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}, left_s)
            except InvalidProviderAnswer:
                raise ProviderRefused(why="the refresh token is not accepted any more") from None
            return read_tokens(members, now_ms=now_ms, previous=tokens)

        return await run_in_thread(self._outbound, self._token, renew)

    async def read_logout(self, token: str, *, now_ms: int) -> ProviderLogout:  # noqa: ARG002 - the signature of `Provider`
        """Refuse every token: GitHub sends none."""
        raise InvalidToken("GitHub sends no logout tokens")

    def _ask_tokens(self, form: Mapping[str, str], left_s: LeftS) -> Mapping[str, Any]:
        identified = {"client_id": self._settings.client_id, "client_secret": self._secret, **form}
        return post_form(self._outbound, self._token, identified, headers={}, deadline_s=left_s())

    def _describe(self, tokens: ProviderTokens, left_s: LeftS) -> ProviderIdentity:
        user = self._ask(f"{self._api}/user", tokens, _User, left_s)
        if not 0 < user.id < _MAX_ID:
            raise ProviderUnavailable("the id of the person is no number that GitHub gives")
        emails = self._ask(f"{self._api}/user/emails", tokens, list[_Email], left_s)
        primary = next((entry for entry in emails if entry.primary), None)
        email = "" if primary is None else read_email({"email": primary.email})
        return ProviderIdentity(
            provider=self._settings.name,
            issuer=self._settings.issuer,
            subject=str(user.id),
            email=email,
            email_verified=bool(email) and primary is not None and (primary.verified or self._settings.trusts_email),
            name=read_name(user.name),
            tokens=tokens if self._settings.keeps_tokens else None,
        )

    def _ask(self, url: str, tokens: ProviderTokens, shape: type[_T], left_s: LeftS) -> _T:
        """Return what the API says, as a `shape`."""
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {tokens.access_token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        answer = fetch_json(self._outbound, url, deadline_s=left_s(), max_bytes=MAX_API_BYTES, headers=headers)
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except (msgspec.MsgspecError, RecursionError):
            raise ProviderUnavailable(f"{url} answered something else than is documented") from None

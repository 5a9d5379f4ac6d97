"""A provider on a real socket whose every answer a test can change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from handstamp.crypto.foreign_tokens import half_hash
from handstamp.domain.provider import ProviderIdentity, ProviderRequest, ProviderSettings
from handstamp.outbound.client import Outbound
from handstamp.relying_party.registry import make_providers
from handstamp.service.parts.providers import Begun, Provider
from tests.conformance.builders import members
from tests.foreign import Private, foreign_token, make_key, public_jwk
from tests.hostile import Asked, Hostile, Script, answer, now_s

CLIENT_ID, CLIENT_SECRET = "our:client", "s3cret of ours/+"
REDIRECT_URI = "https://auth.example.com/sign-in/with/upstream/answer"
CODE, ACCESS_TOKEN, REFRESH_TOKEN = "code-1", "upstream-access-token", "upstream-refresh-token"
DISCOVERY, JWKS, TOKEN, USERINFO = "/.well-known/openid-configuration", "/keys", "/token", "/userinfo"
_T = TypeVar("_T", bound=msgspec.Struct)


class Upstream(Hostile):
    """An OpenID provider that signs everybody in as ada. Tests change what it says; `ABSENT` leaves a member out."""

    def __init__(self, **options: Any) -> None:
        """Listen on a loopback port."""
        super().__init__(**options)
        self.signing: Private = make_key("RS256")
        self.algorithm = "RS256"
        self.kid = "key-1"
        self.published: list[dict[str, Any]] = [public_jwk(self.signing, kid=self.kid, alg=self.algorithm)]
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.token_answer: dict[str, Any] = {}
        self.person: dict[str, Any] = {"sub": "ada-1", "email": "ada@example.com", "email_verified": True, "name": "Ada"}
        self.redeemed: list[dict[str, str]] = []
        self.nonce = ""
        self.wrap: Callable[[str], str] = lambda token: token
        self.answers |= {DISCOVERY: self._describe, JWKS: self._keys, TOKEN: self._redeem, USERINFO: self._tell}

    def id_claims(self) -> dict[str, Any]:
        """Return the claims of the next ID token."""
        now = now_s()
        usual = {
            "iss": self.url,
            "sub": "ada-1",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            "at_hash": half_hash(self.algorithm, ACCESS_TOKEN),
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada Lovelace",
            "sid": "session-1",
            "auth_time": now - 5,
            "amr": ["pwd"],
        }
        return members(usual, self.claims)

    def sign(self, claims: Any, **header: Any) -> str:
        """Return a token that the provider signs."""
        given = members({"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}, header)
        return foreign_token(claims, key=self.signing, algorithm=self.algorithm, header=given)

    def _describe(self, _: Asked) -> Script:
        usual = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": self.url + TOKEN,
            "jwks_uri": self.url + JWKS,
            "userinfo_endpoint": self.url + USERINFO,
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return answer(members(usual, self.metadata))

    def _keys(self, _: Asked) -> Script:
        return answer({"keys": self.published})

    def _redeem(self, asked: Asked) -> Script:
        self.redeemed.append(asked.form)
        usual = {
            "access_token": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": REFRESH_TOKEN,
            "id_token": self.wrap(self.sign(self.id_claims())),
        }
        return answer(members(usual, self.token_answer))

    def _tell(self, _: Asked) -> Script:
        return answer(self.person)

    def client(self, **settings: Any) -> Client:
        """Return a client of this provider, with these settings."""
        return Client(self, **settings)


class Client:
    """The relying party that is tested, with one provider, and what a browser does for it."""

    def __init__(self, upstream: Upstream | None, *, outbound: Outbound | None = None, **settings: Any) -> None:
        """Make the provider from these settings."""
        usual = {
            "name": "upstream",
            "preset": "",
            "label": "Upstream",
            "issuer": upstream.url if upstream else "",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scopes": ("openid", "email", "profile"),
        }
        described = ProviderSettings(**{**usual, **settings})
        allowed = outbound or Outbound(allow=["127.0.0.1", "localhost"])
        self.upstream = upstream
        self.provider: Provider = make_providers([described], allowed)[described.name]

    def begin(self, state: str = "state-1", **options: Any) -> Begun:
        """Begin a sign-in. The provider will put its nonce into the ID token."""
        begun = asyncio.run(self.provider.begin(state, **{"redirect_uri": REDIRECT_URI, **options}))
        if self.upstream is not None:
            self.upstream.nonce = begun.request.nonce
        return begun

    def finish(self, request: ProviderRequest, fields: Mapping[str, str], *, later_s: int = 0) -> ProviderIdentity:
        """Bring an answer."""
        return asyncio.run(self.provider.finish(request, fields, now_ms=(now_s() + later_s) * 1000))

    def sign_in(self, *, fields: Mapping[str, Any] | None = None, later_s: int = 0, **options: Any) -> ProviderIdentity:
        """Sign in. `fields` change those of the answer."""
        request = self.begin(**options).request
        return self.finish(request, members({"code": CODE, "state": request.state}, fields or {}), later_s=later_s)


def query_of(begun: Begun) -> dict[str, str]:
    """Return the fields of the URL to which the browser goes."""
    pairs = parse_qsl(urlsplit(begun.url).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def copy(value: _T, **changes: Any) -> _T:
    """Return a request or tokens with changes."""
    return msgspec.structs.replace(value, **changes)

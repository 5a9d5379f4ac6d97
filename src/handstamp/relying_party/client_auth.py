"""How the service proves to a provider's token endpoint who it is (OpenID Connect Core §9, RFC 6749 §2.3.1, RFC 7523)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..crypto.identifiers import new_id
from ..crypto.jwk import SigningKey
from ..crypto.jws import sign
from ..domain.provider import SecretPlace
from ..errors import ProviderUnavailable
from ..wire.basic import basic_header
from .discovery import Metadata

ASSERTION_S = 300
"""Seconds for which a signed proof is valid. It is sent at once."""
_METHODS: dict[SecretPlace, tuple[str, ...]] = {"": (), "header": ("client_secret_basic",), "form": ("client_secret_post",)}
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Credentials(NamedTuple):
    """What is added to a request."""

    headers: dict[str, str]
    form: dict[str, str]

    def __repr__(self) -> str:
        """Return a text without them."""
        return "Credentials()"


class ClientAuth(Protocol):
    """One way of proving it."""

    def credentials(self, metadata: Metadata, now_s: int) -> Credentials:
        """Return what is added to a request. Raises `ProviderUnavailable` if the provider does not accept this way."""


class SecretAuth:
    """A secret: in the header by default, in the form for providers that want it there."""

    def __init__(self, client_id: str, secret: str, *, place: SecretPlace = "") -> None:
        self._client_id = client_id
        self._secret = secret
        self._methods = _METHODS[place]

    def credentials(self, metadata: Metadata, now_s: int) -> Credentials:  # noqa: ARG002 - the signature of `ClientAuth`
        """Return the secret."""
        methods = self._methods or metadata.authentication
        if "client_secret_basic" in methods:
            return Credentials({"Authorization": basic_header(self._client_id, self._secret)}, {})
        if "client_secret_post" in methods:
            return Credentials({}, {"client_id": self._client_id, "client_secret": self._secret})
        raise ProviderUnavailable("the provider accepts no client secret: set private_key_file")


class KeyAuth:
    """A key that signs a short-lived proof (`private_key_jwt`). Its audience is the issuer, which no other provider can name."""

    def __init__(self, client_id: str, key: SigningKey) -> None:
        self._client_id = client_id
        self._key = key

    def credentials(self, metadata: Metadata, now_s: int) -> Credentials:
        """Return a signed proof."""
        if "private_key_jwt" not in metadata.authentication:
            raise ProviderUnavailable("the provider accepts no signed proof of the client: set client_secret_file")
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": metadata.issuer,
            "jti": new_id(),
            "iat": now_s,
            "exp": now_s + ASSERTION_S,
        }
        assertion = sign(claims, self._key, typ="JWT")
        form = {"client_id": self._client_id, "client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}
        return Credentials({}, form)


class AppleAuth:
    """Apple's client secret: a signed token that is sent as a secret."""

    def __init__(self, client_id: str, key: SigningKey, *, team_id: str) -> None:
        self._client_id = client_id
        self._key = key
        self._team_id = team_id

    def credentials(self, metadata: Metadata, now_s: int) -> Credentials:
        """Return a new secret."""
        claims = {
            "iss": self._team_id,
            "sub": self._client_id,
            "aud": metadata.issuer,
            "iat": now_s,
            "exp": now_s + ASSERTION_S,
        }
        return Credentials({}, {"client_id": self._client_id, "client_secret": sign(claims, self._key, typ="JWT")})

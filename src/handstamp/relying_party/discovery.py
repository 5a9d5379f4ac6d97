"""What an OpenID provider says about itself (OpenID Connect Discovery 1.0, RFC 8414): fetched once an hour, kept for a day.

At most one request runs at a time. If it fails, the last good answer stays, and no other request is sent for some seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from ..clock import monotonic_ms
from ..crypto.foreign_tokens import FOREIGN_ALGORITHMS
from ..crypto.strict import json_decode
from ..domain.issuer import is_private
from ..errors import InvalidToken, ProviderUnavailable, Unavailable
from ..forking import ProcessLock
from ..outbound.client import Outbound
from .http import REQUEST_S, fetch_json

FRESH_MS = 3600 * 1000
MAX_AGE_MS = 24 * 3600 * 1000
"""The longest time for which an answer is used that could not be renewed."""
RETRY_MS = 5_000
MAX_METADATA_BYTES = 128 * 1024
_URL = re.compile(r"[!\"$-~]{1,2048}", re.ASCII)
"""Without a fragment (RFC 6749 §3.1)."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The members that are used. Their names are those of OpenID Connect Discovery 1.0 §3 and RFC 9207 §3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    id_token_signing_alg_values_supported: tuple[str, ...] | None = None
    authorization_response_iss_parameter_supported: bool | None = None

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms of its ID tokens that are accepted. RS256 is the default and must be supported (§3)."""
        return FOREIGN_ALGORITHMS & set(self.id_token_signing_alg_values_supported or ("RS256",))

    @property
    def authentication(self) -> tuple[str, ...]:
        """How a client may authenticate at the token endpoint."""
        return self.token_endpoint_auth_methods_supported or ("client_secret_basic",)


class Discovery:
    """The metadata of one provider."""

    def __init__(self, outbound: Outbound, issuer: str, *, published: str) -> None:
        """Create it without a request.

        Args:
            outbound: What sends the request.
            issuer: Where the metadata is.
            published: The issuer that it must name, byte for byte (§4.3). Otherwise anybody could speak for a provider.
        """
        self.url: str = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
        self._outbound = outbound
        self._published = published
        self._loading = ProcessLock()
        self._metadata: Metadata | None = None
        self._loaded_at_ms = 0
        self._due_at_ms = 0
        self._problem = ""

    def current(self) -> Metadata | None:
        """Return the metadata, None if `load` must be called first. Never blocks.

        Raises:
            ProviderUnavailable: If the last request has just failed, and there is no answer of the last day.
        """
        if monotonic_ms() >= self._due_at_ms:
            return None
        return self._require_known()

    def load(self, left_s: Callable[[], float]) -> Metadata:
        """Return the metadata. Blocks for as long as a request takes.

        Args:
            left_s: Returns the seconds that are left.

        Raises:
            ProviderUnavailable: If it cannot be fetched in time, or is not acceptable.
        """
        known = self._known()
        if not self._loading.acquire(0 if known else left_s()):
            if known is None:
                raise ProviderUnavailable("another request for its metadata takes too long")
            return known
        try:
            return self.current() or self._load(min(left_s(), REQUEST_S))
        finally:
            self._loading.release()

    def _known(self) -> Metadata | None:
        """Return the last good answer, None if there is none of the last day."""
        return self._metadata if monotonic_ms() < self._loaded_at_ms + MAX_AGE_MS else None

    def _require_known(self) -> Metadata:
        """Return the last good answer after a failure."""
        known = self._known()
        if known is None:
            raise ProviderUnavailable(self._problem, retry_after_s=RETRY_MS // 1000)
        return known

    def _load(self, deadline_s: float) -> Metadata:
        try:
            answer = fetch_json(self._outbound, self.url, deadline_s=deadline_s, max_bytes=MAX_METADATA_BYTES)
            self._metadata = self._read(answer.body)
        except Unavailable as error:
            self._problem = error.why
            self._due_at_ms = monotonic_ms() + RETRY_MS
            return self._require_known()
        self._loaded_at_ms = monotonic_ms()
        self._due_at_ms = self._loaded_at_ms + FRESH_MS
        return self._metadata

    def _read(self, body: bytes) -> Metadata:
        """Return the metadata of a document. Raises `ProviderUnavailable` if it is not acceptable."""
        try:
            metadata = json_decode(body, Metadata)
        except InvalidToken:
            raise ProviderUnavailable(f"the metadata at {self.url} is malformed or incomplete") from None
        if metadata.issuer != self._published:
            raise ProviderUnavailable(f"the metadata at {self.url} names another issuer: set the issuer exactly as it is there")
        if not metadata.algorithms:
            raise ProviderUnavailable("its ID tokens are signed with algorithms that are not accepted")
        if not is_private(metadata.authorization_endpoint) or _URL.fullmatch(metadata.authorization_endpoint) is None:
            raise ProviderUnavailable("its authorization_endpoint is no https URL")
        for url in (metadata.token_endpoint, metadata.jwks_uri, metadata.userinfo_endpoint):
            try:
                self._outbound.require_url(url or metadata.jwks_uri)
            except ValueError as problem:
                raise ProviderUnavailable(f"its metadata names an address that is not requested: {problem}") from None
        return metadata

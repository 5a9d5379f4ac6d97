"""The keys of a provider, kept and renewed by the verifier's own machinery (`handstamp.verify.jwks`)."""

from __future__ import annotations

from functools import partial

from ..clock import monotonic_ms
from ..crypto.foreign_tokens import ForeignKeys, ForeignToken, verify_foreign
from ..crypto.jws import UnknownKey
from ..errors import ProviderUnavailable, Unavailable
from ..outbound.client import Outbound
from ..verify.fetch import Document
from ..verify.jwks import RemoteKeys, WouldWait
from .discovery import Metadata
from .http import REQUEST_S, fetch_json

MAX_JWKS_BYTES = 256 * 1024
_MOST_FETCHES = 2
"""For one token: for a set that is too old, and for a key that is not in it."""


class ProviderKeys:
    """Verifies tokens with the keys at the address that the metadata name."""

    def __init__(self, outbound: Outbound) -> None:
        """Create it without a request."""
        self._outbound = outbound
        self._remote: tuple[str, RemoteKeys[ForeignKeys]] | None = None

    def verify(self, token: str, metadata: Metadata, *, typs: tuple[str, ...], max_length: int) -> ForeignToken:
        """Verify the signature of a token, and fetch keys for it if needed, which blocks. Arguments as `verify_foreign`.

        Raises:
            InvalidToken: If it is not valid.
            ProviderUnavailable: If keys cannot be fetched.
        """
        for _ in range(_MOST_FETCHES):
            try:
                return self.verify_known(token, metadata, typs=typs, max_length=max_length)
            except WouldWait as missing:
                try:
                    self._keys_of(metadata).wait(missing.kid)
                except Unavailable as error:
                    raise ProviderUnavailable(error.why) from None
        try:
            return self.verify_known(token, metadata, typs=typs, max_length=max_length)
        except WouldWait:
            raise ProviderUnavailable("the provider's keys change too often") from None

    def verify_known(self, token: str, metadata: Metadata, *, typs: tuple[str, ...], max_length: int) -> ForeignToken:
        """Do as `verify`, without a request. Raises `WouldWait` too, if keys must be fetched first."""
        remote = self._keys_of(metadata)
        try:
            keys = remote.current(monotonic_ms())
            try:
                return verify_foreign(token, keys, algorithms=metadata.algorithms, typs=typs, max_length=max_length)
            except UnknownKey as unknown:
                remote.require_unknown(unknown.kid, keys)
                raise
        except Unavailable as error:
            raise ProviderUnavailable(error.why) from None

    def _keys_of(self, metadata: Metadata) -> RemoteKeys[ForeignKeys]:
        kept, url = self._remote, metadata.jwks_uri
        if kept is None or kept[0] != url:
            kept = self._remote = url, RemoteKeys(partial(self._fetch, url), parse=ForeignKeys.from_jwks, timeout_s=REQUEST_S)
        return kept[1]

    def _fetch(self, url: str) -> Document:
        answer = fetch_json(self._outbound, url, deadline_s=REQUEST_S, max_bytes=MAX_JWKS_BYTES)
        return Document(answer.body, answer.headers.get("cache-control", ""))

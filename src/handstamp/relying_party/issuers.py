"""Which issuers a provider's tokens may have. For all but Microsoft's shared addresses it is one, byte for byte."""

from __future__ import annotations

import re

from ..domain.presets import PERSONAL_TENANT
from ..domain.provider import ProviderSettings

_TENANT = "{tenantid}"
"""What Microsoft publishes in place of a tenant, for addresses that many tenants share."""
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_SHARED = re.compile(r"(https?://[^/]+)/(common|organizations)/v2\.0", re.ASCII)


class IssuerRule:
    """Tells the issuers of a provider from others."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._is_microsoft = settings.preset == "microsoft"
        shared = _SHARED.fullmatch(settings.issuer) if self._is_microsoft else None
        self.published: str = settings.issuer if shared is None else f"{shared[1]}/{_TENANT}/v2.0"
        """The issuer as the provider's metadata names it."""
        self._takes_personal = shared is not None and shared[2] == "common"
        self._is_shared = shared is not None

    def accepts(self, issuer: object, tenant: object) -> bool:
        """Return whether a token may have this `iss`, with this `tid` beside it."""
        if not self._is_shared:
            return issuer == self.published
        if not isinstance(tenant, str) or _GUID.fullmatch(tenant) is None:
            return False
        is_wanted = self._takes_personal or tenant != PERSONAL_TENANT
        return is_wanted and issuer == self.published.replace(_TENANT, tenant)

    def accepts_answer(self, issuer: str) -> bool:
        """Return whether an answer that the browser brings may name this issuer (RFC 9207)."""
        if not self._is_shared:
            return issuer == self.published
        before, after = self.published.split(_TENANT)
        return self.accepts(issuer, issuer[len(before) : -len(after)])

    def accepts_key(self, key_issuer: str, issuer: str, tenant: object) -> bool:
        """Return whether a key may have signed for an issuer. Microsoft says with each key for which tenant it is."""
        return not (self._is_microsoft and key_issuer) or key_issuer.replace(_TENANT, str(tenant)) == issuer

"""Create the receivers of the audit trail from the settings, and send to them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ..clock import Clock
from ..config.settings import Settings
from ..config.webhook_secrets import load_webhook_secrets
from ..crypto.identifiers import new_id
from ..errors import ConfigurationError
from ..outbound.client import Outbound
from ..service.operating.audit_receivers import ReceiverStatus, read_receivers
from ..service.operating.audit_trail import AuditTrail
from ..service.operating.audit_webhook import AuditWebhook, Sent, Target
from ..service.parts.changes import Changes
from ..service.parts.meter import Meter
from ..storage.store import Store

DEADLINE_S = 20.0
"""How long one request may take. It is shorter than the lease of a receiver (`LEASE_MS`)."""
MOST_BYTES = 64 * 1024
"""The largest answer to accept. Its body is not used."""


class Auditing:
    """Sends the audit trail to the receivers that the settings name."""

    def __init__(
        self,
        settings: Settings,
        *,
        outbound: Outbound,
        store: Store,
        trail: AuditTrail,
        changes: Changes,
        clock: Clock,
        meter: Meter,
    ) -> None:
        """Create it. Raises `ConfigurationError` if a URL cannot be requested, or without a secret."""
        self.targets: tuple[Target, ...] = make_targets(settings.audit_webhook_urls)
        self._store = store
        self._outbound = outbound
        self._clock = clock
        self._load_secrets = partial(load_webhook_secrets, settings.audit_webhook_secret_file)
        if self.targets:
            self._load_secrets()
        for target in self.targets:
            try:
                outbound.require_url(target.url)
            except ValueError as problem:
                raise ConfigurationError(f"HANDSTAMP_AUDIT_WEBHOOK_URLS, {target.name}: {problem}.") from None
        self.webhooks: list[AuditWebhook] = [
            AuditWebhook(
                target,
                issuer=settings.issuer,
                store=store,
                trail=trail,
                changes=changes,
                clock=clock,
                load_secrets=self._load_secrets,
                post=self._post,
                meter=meter,
            )
            for target in self.targets
        ]

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """Return the work in the background."""
        return [webhook.run() for webhook in self.webhooks]

    async def read_receivers(self) -> list[ReceiverStatus]:
        """Return how far the receivers are. Raises `Unavailable` if the store does not answer."""
        return await read_receivers(self._store, self.targets)

    async def send_test(self, target: Target) -> int:
        """Send a signed message without events to a receiver; return the status of its answer.

        Raises:
            Unavailable: If there is no complete answer.
            ConfigurationError: If the secret cannot be read.
        """
        body = json.dumps({"type": "audit.test", "data": {}}).encode()
        signed = self._load_secrets().sign(new_id(), self._clock() // 1000, body)
        return (await self._post(target.url, {"Content-Type": "application/json", **signed}, body)).status

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Sent:
        answer = await self._outbound.request("POST", url, headers, body, deadline_s=DEADLINE_S, max_bytes=MOST_BYTES)
        wished = answer.headers.get("retry-after", "")
        return Sent(answer.status, int(wished) if wished.isascii() and wished.isdecimal() and len(wished) < 9 else 0)


def make_targets(urls: Sequence[str]) -> tuple[Target, ...]:
    """Return the receivers of these URLs. Their names are unique."""
    ids = {url: hashlib.sha256(url.encode()).hexdigest() for url in urls}
    hosts = {url: urlsplit(url).hostname or url for url in ids}
    shared = Counter(hosts.values())
    return tuple(
        Target(found, hosts[url] if shared[hosts[url]] == 1 else f"{hosts[url]} {found[:8]}", url) for url, found in ids.items()
    )

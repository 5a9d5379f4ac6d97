"""The audit log: one structured line an event (OWASP ASVS 16.2), on standard error through structlog."""

from __future__ import annotations

import structlog

from ...domain.event import Event

_LEVELS = {"refreshed": "debug", "reuse_detected": "warning", "sign_in_throttled": "warning", "caught_up": "warning"}


class Audit:
    """Writes events to the log. Their fields hold no secret; a renderer that escapes control characters does the rest."""

    def __init__(self) -> None:
        """Take the logger of that name from structlog's configuration."""
        self._log = structlog.get_logger("handstamp.audit")

    def log(self, event: Event) -> None:
        """Write one line. Routine events are for debugging, alarming ones are warnings."""
        write = getattr(self._log, _LEVELS.get(event.kind, "info"))
        write(event.kind, at_ms=event.at_ms, subject=event.subject, sid=event.sid, ip=event.ip, **event.detail)

"""The audit log: one structured line an event (OWASP ASVS 16.2), on standard error through structlog."""

from __future__ import annotations

import structlog

from ..domain.event import Event

_ROUTINE = frozenset({"refreshed"})
_ALARMING = frozenset({"reuse_detected", "sign_in_throttled", "caught_up"})


class Audit:
    """Writes events to the log. Their fields hold no secret; a renderer that escapes control characters does the rest."""

    def __init__(self) -> None:
        """Take the logger of that name from structlog's configuration."""
        self._log = structlog.get_logger("handstamp.audit")

    def log(self, event: Event) -> None:
        """Write one line. Routine events are for debugging, alarming ones are warnings."""
        write = self._log.info
        if event.kind in _ROUTINE:
            write = self._log.debug
        elif event.kind in _ALARMING:
            write = self._log.warning
        write(event.kind, at_ms=event.at_ms, subject=event.subject, sid=event.sid, ip=event.ip, **event.detail)

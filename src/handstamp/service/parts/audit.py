"""The audit log: one structured line an event (OWASP ASVS 16.2), through `logging`."""

from __future__ import annotations

import logging

from ...domain.event import Event
from ...logger import Logger

_LEVELS = {
    "refreshed": logging.DEBUG,
    "reuse_detected": logging.WARNING,
    "sign_in_throttled": logging.WARNING,
    "caught_up": logging.WARNING,
}


class Audit:
    """Writes events to the log. Their fields hold no secret; a renderer that escapes control characters does the rest."""

    def __init__(self) -> None:
        """Log under `handstamp.audit`."""
        self._log = Logger("handstamp.audit")

    def log(self, event: Event) -> None:
        """Write one line. Routine events are for debugging, alarming ones are warnings."""
        level = _LEVELS.get(event.kind, logging.INFO)
        self._log.log(level, event.kind, at_ms=event.at_ms, subject=event.subject, sid=event.sid, ip=event.ip, **event.detail)

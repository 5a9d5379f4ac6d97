"""The audit log: one structured line an event (OWASP ASVS 16.2), through `logging`."""

from __future__ import annotations

import logging

from ...domain.event import EVENT_KINDS, Event
from ...logger import Logger

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class Audit:
    """Writes events to the log. Their fields hold no secret; a renderer that escapes control characters does the rest."""

    def __init__(self) -> None:
        """Log under `handstamp.audit`."""
        self._log = Logger("handstamp.audit")

    def log(self, event: Event) -> None:
        """Write one line, at the level of the event's kind."""
        level = _LEVELS[EVENT_KINDS[event.kind].level]
        self._log.log(level, event.kind, at_ms=event.at_ms, subject=event.subject, sid=event.sid, ip=event.ip, **event.detail)

"""The audit log: one structured line per event (OWASP ASVS 16.2), written through `logging`."""

from __future__ import annotations

import logging

from ...domain.event import EVENT_KINDS, Event
from ...logger import Logger

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class Audit:
    """Writes events to the log. Events contain no secrets, and the renderer escapes control characters."""

    def __init__(self) -> None:
        self._log = Logger("handstamp.audit")

    def log(self, event: Event) -> None:
        """Write one line with the level of the event's kind."""
        level = _LEVELS[EVENT_KINDS[event.kind].level]
        self._log.log(level, event.kind, at_ms=event.at_ms, subject=event.subject, sid=event.sid, ip=event.ip, **event.detail)

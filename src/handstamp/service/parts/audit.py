"""The audit log: one structured line per event (OWASP ASVS 16.2), written through `logging`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...domain.event import EVENT_KINDS, Event, EventKind
from ...logger import Logger
from .bounded_logger import BoundedLogger
from .meter import NO_METER, Meter

_BOUNDED = {"attempt_throttled"}
"""Kinds that cost a stranger nothing. All others cost a hash or need a token."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_LEVEL_OF = {kind: _LEVELS[rule.level] for kind, rule in EVENT_KINDS.items()}


class Audit:
    """Writes events to the log. Events contain no secrets, and the renderer escapes control characters."""

    def __init__(self, meter: Meter = NO_METER) -> None:
        """Create it. `meter` counts the events."""
        self.meter: Meter = meter
        self._log = Logger("handstamp.audit")
        self._bounded_log = BoundedLogger("handstamp.audit")

    def log(self, event: Event) -> None:
        """Write one line with the level of the event's kind."""
        self.meter.count_event(event)
        log = self._bounded_log if event.kind in _BOUNDED else self._log
        log.log(
            _LEVEL_OF[event.kind],
            event.kind,
            at_ms=event.at_ms,
            subject=event.subject,
            sid=event.sid,
            ip=event.ip,
            user_agent=event.user_agent,
            actor=event.actor,
            **event.detail,
        )

    def log_routine(self, kind: EventKind, make: Callable[[], Event]) -> None:
        """Do the same for an event that happens all day. It is made only if its level is logged."""
        if self._log.is_enabled(_LEVEL_OF[kind]):
            self.log(make())
        else:
            self.meter.count_kind(kind)

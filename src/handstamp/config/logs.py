"""How log lines look: JSON for machines, aligned text on a terminal, always on standard error."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

# Tracebacks never show local variables: in ours there are passwords and tokens.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure(level: int = logging.INFO) -> None:
    """Set up structlog for a process of ours. An application that embeds Handstamp configures its own logging instead."""
    terminal = sys.stderr.isatty()
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [_TRACEBACKS, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            _name_logger,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Named,
        cache_logger_on_first_use=True,
    )


def hand_over() -> None:
    """Send our lines to the application's `logging`, unless it has set up structlog for itself: it decides where logs go."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                _TRACEBACKS,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )


class _Named(structlog.PrintLogger):
    """A logger on standard error that remembers its name."""

    def __init__(self, name: str = "handstamp") -> None:
        super().__init__(cast("TextIO", _Forgiving()))
        self.name = name


class _Forgiving:
    """Standard error, but for failures: a full disk under the log must not decide what a request is answered."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def _name_logger(logger: object, _: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["logger"] = getattr(logger, "name", "handstamp")
    return event

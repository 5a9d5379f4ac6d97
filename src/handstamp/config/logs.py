"""Format log lines of our own processes: JSON for machines, coloured text on a terminal, always on standard error."""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import threading
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Literal

from ..buckets import Buckets
from ..current_request import describe_request
from ..logger import LogLine

LogFormat = Literal["auto", "json", "text"]
"""`auto` is text on a terminal and JSON otherwise."""
_BURST, _PER_S = 20, 0.5
"""Lines of one library: at once, and a second in the long run."""
_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_COLORS = {"debug": _DIM, "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}


def configure_logging(level: int = logging.INFO, log_format: LogFormat = "auto") -> None:
    """Set up `logging` for a process of ours. An application that embeds Handstamp configures its own logging instead.

    Args:
        level: The lowest level of Handstamp's own lines. Other libraries log warnings and errors.
        log_format: How lines are written.
    """
    handler = _StandardError()
    handler.addFilter(_BoundLibraries())
    is_terminal = sys.stderr.isatty()
    is_text = log_format == "text" or (log_format == "auto" and is_terminal)
    handler.setFormatter(TextFormatter(has_colors=is_terminal and _wants_colors()) if is_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if not isinstance(other, _StandardError)), handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("handstamp").setLevel(level)
    _log_what_python_prints()


def _wants_colors() -> bool:
    """Return whether a terminal may show colours. See https://no-color.org for NO_COLOR."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _log_what_python_prints() -> None:
    """Log warnings, and exceptions that nothing catches. Python prints them as plain text, between the lines of the log."""
    logging.captureWarnings(capture=True)
    log = logging.getLogger("python")

    def log_in_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None:
            log.error("a thread has failed", exc_info=failed.exc_value)

    threading.excepthook = log_in_thread
    sys.unraisablehook = lambda failed: log.error("an exception cannot be raised", exc_info=failed.exc_value)
    sys.excepthook = _log_end


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("python").critical("the process has failed", exc_info=(kind, error, trace))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII. Tracebacks never show local variables, which contain passwords and tokens."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            **_fields(record),
            "event": _event(record),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": _time(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """One line of text, with a traceback below it if there is one. Control characters of fields and messages are escaped."""

    def __init__(self, *, has_colors: bool = False) -> None:
        """Create it. With colours, the event stands out and its level has a colour."""
        super().__init__()
        self._has_colors = has_colors

    def format(self, record: logging.LogRecord) -> str:
        """Return the text."""
        level = record.levelname.lower()
        time, event = self._paint(_DIM, _time(record)), self._paint(_BOLD, _event(record))
        line = f"{time} {self._paint(_COLORS.get(level, ''), f'{level:<8}')} {record.name}: {LogLine(event, _fields(record))}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def _paint(self, color: str, text: str) -> str:
        return f"{color}{text}{_RESET}" if self._has_colors and color else text


class _StandardError(logging.Handler):
    """Writes to whatever `sys.stderr` is. Failures are ignored: a full disk must not decide how a request is answered."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()


class _BoundLibraries(logging.Filter):
    """Bounds the lines of other libraries, some of which strangers can cause. The next line says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._buckets = Buckets(burst=_BURST, per_s=_PER_S)
        self._left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        if isinstance(record.msg, LogLine):
            return True
        if self._buckets.take(record.name):
            self._left_out[record.name] += 1
            return False
        record.left_out = self._left_out.pop(record.name, 0)
        return True


def _event(record: logging.LogRecord) -> str:
    return record.msg.event if isinstance(record.msg, LogLine) else "library_message"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    if isinstance(record.msg, LogLine):
        return record.msg.fields
    left_out = getattr(record, "left_out", 0)
    return {"message": record.getMessage(), **describe_request()} | ({"left_out": left_out} if left_out else {})


def _time(record: logging.LogRecord) -> str:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat().replace("+00:00", "Z")

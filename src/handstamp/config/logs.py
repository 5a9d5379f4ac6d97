"""Format log lines of our own processes: JSON for machines, text on a terminal, always on standard error."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from contextlib import suppress

from ..logger import LogLine


def configure_logging(level: int = logging.INFO) -> None:
    """Set up `logging` for a process of ours. An application that embeds Handstamp configures its own logging instead.

    Args:
        level: The lowest level of Handstamp's own lines. Other libraries log warnings and errors.
    """
    handler = _StandardError()
    handler.setFormatter(TextFormatter() if sys.stderr.isatty() else JsonFormatter())
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if not isinstance(other, _StandardError)), handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("handstamp").setLevel(level)


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
    """One line of text, with a traceback below it if there is one. Control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text."""
        text = str(LogLine(_escape(_event(record)), _fields(record)))
        line = f"{_time(record)} {record.levelname.lower():<8} {record.name}: {text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _StandardError(logging.Handler):
    """Writes to whatever `sys.stderr` is. Failures are ignored: a full disk must not decide how a request is answered."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()


def _event(record: logging.LogRecord) -> str:
    return record.msg.event if isinstance(record.msg, LogLine) else record.getMessage()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return record.msg.fields if isinstance(record.msg, LogLine) else {}


def _time(record: logging.LogRecord) -> str:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat().replace("+00:00", "Z")


def _escape(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)

"""Write structured log lines through `logging`: an event and fields, which an application's handlers see as text or as fields."""

from __future__ import annotations

import logging
from typing import Any

from .current_request import describe_request


class LogLine:
    """An event with its fields. As text it is `event key='value' …`, in which control characters are escaped."""

    __slots__ = ("event", "fields")

    def __init__(self, event: str, fields: dict[str, Any]) -> None:
        """Take the name of the event, and fields without secrets."""
        self.event: str = event
        self.fields: dict[str, Any] = fields

    def __str__(self) -> str:
        """Return the line as text."""
        return " ".join([self.event, *(f"{name}={value!r}" for name, value in self.fields.items())])


class Logger:
    """Logs events under one name of `logging`, with the ids of the request that is being answered."""

    def __init__(self, name: str) -> None:
        """Take the name, as `handstamp.web`."""
        self._logger = logging.getLogger(name)

    def is_enabled(self, level: int) -> bool:
        """Return whether lines of a level of `logging` are written."""
        return self._logger.isEnabledFor(level)

    def log(self, level: int, event: str, /, **fields: Any) -> None:
        """Log an event at a level of `logging`, if that is enabled."""
        self._write(level, event, fields)

    def debug(self, event: str, /, **fields: Any) -> None:
        """Log an event that only developers need."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """Log an event of normal operation."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Log an event that an operator should look at."""
        self._write(logging.WARNING, event, fields)

    def exception(self, event: str, /, **fields: Any) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, event, fields, with_traceback=True)

    def _write(self, level: int, event: str, fields: dict[str, Any], *, with_traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, LogLine(event, {**describe_request(), **fields}), exc_info=with_traceback, stacklevel=3)

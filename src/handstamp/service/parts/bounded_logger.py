"""Log what strangers can cause, without letting them fill the disk."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from contextvars import Context
from typing import Any

from ...buckets import Buckets
from ...logger import Logger

BURST, PER_S = 20, 0.5
"""Lines of one kind: at once, and a second in the long run. That is about 10 MB a day."""
_KIND = ("status", "code", "path", "operation")
_SUMMARY_AFTER_S = 10.0


class BoundedLogger(Logger):
    """Writes a bounded number of lines of each kind, and then how many it left out, as `lines_left_out`. It uses the event loop.

    The kind of a line is its event with the status, the code and the path of the answer, or the operation, as far as it has them.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._buckets = Buckets(burst=BURST, per_s=PER_S)
        self._left_out: Counter[str] = Counter()

    def _write(self, level: int, event: str, fields: dict[str, Any], *, with_traceback: bool = False) -> None:
        kind = " ".join([event, *(str(fields[name]) for name in _KIND if fields.get(name))])
        if not self._buckets.take(kind):
            super()._write(level, event, fields, with_traceback=with_traceback)
        elif kind in self._left_out:
            self._left_out[kind] += 1
        else:
            with suppress(RuntimeError):  # without an event loop the summary would not be written
                loop = asyncio.get_running_loop()
                loop.call_later(_SUMMARY_AFTER_S, self._summarise, kind, level, context=Context())  # of no request
                self._left_out[kind] = 1

    def _summarise(self, kind: str, level: int) -> None:
        super()._write(level, "lines_left_out", {"kind": kind, "count": self._left_out.pop(kind)})

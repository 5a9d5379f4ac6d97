"""Errors on their way out: what the client may see goes there, by the one table; what only the log may see stays here."""

from __future__ import annotations

import msgspec
import structlog
from starlette.responses import Response

from ..crypto.identifiers import new_id
from ..errors import HandstampError, InvalidRequest, InvalidToken, Unavailable
from ..wire.problems import MEDIA_TYPE, REASONS, TABLE, headers, problem, row_of

__all__ = ["MEDIA_TYPE", "REASONS", "TABLE", "MethodNotAllowed", "row_of", "write_problem"]

_log = structlog.get_logger("handstamp.web")


class MethodNotAllowed(InvalidRequest):
    """The path is right and the method is not: the edge's own, since only HTTP has methods."""


TABLE[MethodNotAllowed] = (405, "Not with this method")


def write_problem(error: HandstampError) -> Response:
    """Return an error as the client may see it. What only the log may see goes there, under the same request id."""
    instance = log_failure(error)
    sent = problem(error, instance=instance)
    return Response(msgspec.json.encode(sent), sent.status, headers(error), MEDIA_TYPE)


def log_failure(error: HandstampError) -> str:
    """Log what the client must not see, where there is any; return the name of the request under which it stands there."""
    instance = new_id()
    status, _ = row_of(type(error))
    if isinstance(error, InvalidToken | Unavailable) or status >= 500:
        level = _log.warning if status >= 500 else _log.info
        level("request_failed", code=error.code, why=getattr(error, "why", ""), instance=instance)
    return instance

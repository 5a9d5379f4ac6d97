"""Errors on their way out: what the client may see goes there, by the one table; what only the log may see stays here."""

from __future__ import annotations

from starlette.responses import Response

from ..crypto.identifiers import new_id
from ..errors import HandstampError, InvalidToken, Unavailable
from ..logger import Logger
from ..wire.problems import refusal_of, row_of

_log = Logger("handstamp.web")


def write_problem(error: HandstampError) -> Response:
    """Return an error as the client may see it. What only the log may see goes there, under the same request id."""
    refusal = refusal_of(error, instance=log_failure(error))
    return Response(refusal.body, refusal.status, refusal.headers)


def log_failure(error: HandstampError) -> str:
    """Log what the client must not see, where there is any; return the name of the request under which it stands there."""
    instance = new_id()
    status, _ = row_of(type(error))
    if isinstance(error, InvalidToken | Unavailable) or status >= 500:
        level = _log.warning if status >= 500 else _log.info
        level("request_failed", code=error.code, why=getattr(error, "why", ""), instance=instance)
    return instance

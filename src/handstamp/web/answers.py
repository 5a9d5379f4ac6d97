"""Writes answers: JSON that no cache keeps, public documents that caches revalidate, and problems (RFC 9457)."""

from __future__ import annotations

import functools
import hashlib

import msgspec
from starlette.responses import Response

from ..crypto.identifiers import new_id
from ..errors import HandstampError, InvalidToken, SessionEnded, Unavailable
from ..logger import Logger
from ..wire.problems import refusal_of, row_of
from .cookies import clear_ended
from .edge import Call

_encode = msgspec.json.Encoder().encode
MAX_TAGS_LENGTH = 1024
"""How much of `If-None-Match` is read, in characters. A cache sends the tags of the few versions that it has."""
_log = Logger("handstamp.web")


class _Json(Response):
    """JSON with ready-made header fields: Starlette would build and encode them again for each answer."""

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
        ]


def write_json(answer: msgspec.Struct, status: int = 200) -> Response:
    """Return a JSON answer that no cache stores: it holds tokens or personal data."""
    return _Json(_encode(answer), status)


def write_nothing() -> Response:
    """Return the answer 204, which no cache stores."""
    return Response(status_code=204, headers={"cache-control": "no-store"})


def write_public(document: bytes, call: Call, *, max_age_s: int) -> Response:
    """Return a JSON document that anybody may read and cache, from every origin, or 304 if the client has it (RFC 9110 §13.1.2).

    Args:
        document: The JSON text.
        call: The request, for its `If-None-Match`.
        max_age_s: Seconds for which caches may answer without asking again (RFC 9111 §5.2.2.1).
    """
    etag = _etag(document)
    # The comparison is weak: a proxy that compresses makes the tag weak. A long list is no cache's: it is not looked through.
    sent = call.headers.get("if-none-match", "")[:MAX_TAGS_LENGTH]
    known = {tag.strip().removeprefix("W/") for tag in sent.split(",")}
    headers = {
        "cache-control": f"public, max-age={max_age_s}",
        "etag": etag,
        "access-control-allow-origin": "*",
        "cross-origin-resource-policy": "cross-origin",
    }
    if not known.isdisjoint((etag, "*")):
        return Response(status_code=304, headers=headers)
    return Response(document, media_type="application/json", headers=headers)


@functools.lru_cache(maxsize=16)
def _etag(document: bytes) -> str:
    return f'"{hashlib.sha256(document).hexdigest()[:32]}"'


def write_error(error: HandstampError, call: Call) -> Response:
    """Return an error as a problem. The cookies are deleted if they belong to a session that has ended for good."""
    response = write_problem(error)
    if isinstance(error, SessionEnded) and not error.session_lives:
        clear_ended(response, call.cookies, call.identified_by)
    return response


def write_problem(error: HandstampError) -> Response:
    """Return an error as the client may see it, and log the details under the same request id."""
    refusal = refusal_of(error, instance=log_failure(error))
    return Response(refusal.body, refusal.status, refusal.headers, refusal.media_type)


def log_failure(error: HandstampError) -> str:
    """Log internal details, if the error has any; return the request id used in the log."""
    instance = new_id()
    status, _ = row_of(type(error))
    if isinstance(error, InvalidToken | Unavailable) or status >= 500:
        level = _log.warning if status >= 500 else _log.info
        level("request_failed", code=error.code, why=getattr(error, "why", ""), instance=instance)
    return instance

"""Writes answers: JSON that no cache keeps, public documents that caches revalidate, and problems (RFC 9457)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..crypto.identifiers import new_id
from ..current_request import CURRENT
from ..errors import HandstampError, SecondFactorRequired, SessionEnded
from ..languages.catalogue import ENGLISH, Catalogue
from ..service.parts.bounded_logger import BoundedLogger
from ..wire.problems import refusal_of, row_of
from .challenge import write_challenge
from .cookies import clear_ended
from .edge import Call

_encode = msgspec.json.Encoder().encode
MAX_TAGS_LENGTH = 1024
"""How much of `If-None-Match` is read, in characters. A cache sends the tags of the few versions that it has."""
_NO_REQUEST: Mapping[str, Any] = MappingProxyType({})
_log = BoundedLogger("handstamp.web")


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


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
    """Return an error as a problem, and a sign-in that needs another step as its challenge.

    The cookies are deleted if they belong to a session that has ended for good.
    """
    if isinstance(error, SecondFactorRequired) and error.challenge:
        return write_challenge(error, call)
    response = write_problem(error, call.request.scope, call.language)
    if isinstance(error, SessionEnded) and not error.session_lives:
        clear_ended(response, call.cookies, call.identified_by, bound=call.bound_cookie)
    return response


def write_problem(error: HandstampError, scope: Mapping[str, Any] = _NO_REQUEST, language: Catalogue = ENGLISH) -> Response:
    """Return an error as the client may see it, and log it with its details under the same request id.

    Args:
        error: Why the request is refused.
        scope: The request (ASGI), for the log.
        language: For the texts that people read (RFC 9457 §3.1). The log is in English.
    """
    translate = str if language is ENGLISH else language.translate
    refusal = refusal_of(error, instance=log_refusal(error, scope), translate=translate)
    refusal.headers.update(language_headers(language))
    return Response(refusal.body, refusal.status, refusal.headers, refusal.media_type)


def language_headers(language: Catalogue) -> dict[str, str]:
    """Return the header fields of an answer in a language that the request's `Accept-Language` has a part in."""
    return {"content-language": language.tag, "vary": "Accept-Language"}


def log_refusal(error: HandstampError, scope: Mapping[str, Any]) -> str:
    """Log that a request is refused and why; return its id, which the client sees too."""
    status, _ = row_of(type(error))
    request = CURRENT.get()
    request_id = new_id() if request is None else request.id  # other applications may not be behind `ClientAddress`
    route, client = scope.get("route"), scope.get("client")
    write, event = (_log.warning, "request_failed") if status >= 500 else (_log.info, "request_refused")
    write(
        event,
        code=error.code,
        status=status,
        why=getattr(error, "why", "") or getattr(error, "limit", ""),
        method=scope.get("method", ""),
        path=route.path if route else "",
        ip=client[0] if client else "",
        request_id=request_id,
    )
    return request_id

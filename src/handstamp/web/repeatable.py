"""Reads the key with which a client marks a request that it may send again.

The header is that of draft-ietf-httpapi-idempotency-key-header; the forms of our pages have a hidden field instead.
"""

from __future__ import annotations

import re

from ..domain.receipt import Repeatable
from ..errors import InvalidRequest
from ..text import mark
from .edge import Call

HEADER = "Idempotency-Key"
_FIELD = HEADER.lower()
MIN_LENGTH, MAX_LENGTH = 16, 128
_KEY = re.compile(rf"[!#-\[\]-~]{{{MIN_LENGTH},{MAX_LENGTH}}}")


def read_repeatable(call: Call, operation: str, *content: str) -> Repeatable | None:
    """Return a request with its `Idempotency-Key`, or None if it has none.

    Args:
        call: The request.
        operation: The name of what is asked for. The same key for another operation is another key.
        content: The fields of the request.

    Raises:
        InvalidRequest: The header comes twice, or its value is not a key.
    """
    values = call.headers.getlist(_FIELD)
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest(mark("There is more than one %(header)s header.", header=HEADER))
    return Repeatable(operation, _require_key(values[0]), content)


def repeatable_form(key: str, operation: str, *content: str) -> Repeatable | None:
    """Return a form with the key of its hidden field, or None if that is empty. Raises `InvalidRequest` if it is not a key.

    A page can be sent again with other content, by the browser's way back. So each content has a key of its own.
    """
    return Repeatable(operation, "\n".join((_require_key(key), *content)), ()) if key else None


def _require_key(text: str) -> str:
    if text[:1] == text[-1:] == '"':  # a string of structured fields (RFC 9651 §3.3.3); most clients send it bare
        text = text[1:-1]
    if _KEY.fullmatch(text) is None:
        raise InvalidRequest(
            mark(
                "%(header)s must have %(least)s to %(most)s characters, such as a random UUID.",
                header=HEADER,
                least=MIN_LENGTH,
                most=MAX_LENGTH,
            )
        )
    return text

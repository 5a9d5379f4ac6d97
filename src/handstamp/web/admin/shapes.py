"""What the operations of operators share: how they are declared, and how lists are divided into pages."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from ...crypto.strict import base64url_decode, base64url_encode
from ...errors import InvalidFields, InvalidToken, NotFound
from ...text import mark
from ..api.shapes import described
from ..edge import Call
from ..operation import BODY_ERRORS, OPERATOR_ERRORS, Operation

PAGE_SIZE, MOST = 50, 200
"""Entries of a page by default, and at most."""
MAX_CURSOR = 1024
"""Characters of a cursor. It holds an address, or a name and an id."""
AFTER = {
    "after": "The `next` of the page before; without it, the first page is returned",
    "limit": f"Entries of a page, 1 to {MOST}; {PAGE_SIZE} by default",
}
"""The fields of the query of a list."""
Place = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A number in a cursor. A larger one would be none of the database."""
Word = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f]*$")]
"""A text in a cursor."""
Next = Annotated[str | None, described("If the list goes on: send it as `after` to get the next page")]
_T = TypeVar("_T")


def declare(**fields: Any) -> Operation:
    """Return an operation for operators only. Pages of trusted origins may not use it with cookies.

    Each POST takes an `Idempotency-Key`: `Call.operator` has it, and the use case keeps the receipt.
    """
    is_repeatable = fields.pop("is_repeatable", fields["method"] == "POST")
    errors = (
        *OPERATOR_ERRORS,
        *(BODY_ERRORS if fields.get("body") else ()),
        *((InvalidFields,) if is_repeatable else ()),
        *fields.pop("errors", ()),
    )
    return Operation(
        credential="operator",
        own_pages_only=True,
        is_repeatable=is_repeatable,
        errors=tuple(dict.fromkeys(errors)),
        **fields,
    )


def read_id(call: Call) -> str:
    """Return the id of the path. Raises `NotFound` for an address: paths are written into logs."""
    account_id: str = call.request.path_params["id"]
    if "@" in account_id or not account_id.isprintable():
        raise NotFound(mark("There is no account with this id."))
    return account_id


def read_limit(call: Call) -> int:
    """Return how many entries a page may have. Raises `InvalidFields`."""
    text = call.request.query_params.get("limit", "") or str(PAGE_SIZE)
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise InvalidFields([("limit", mark("must be a whole number from 1 to %(most)s", most=MOST))])
    return int(text)


def write_cursor(*place: str | int) -> str:
    """Return a place in a list as text that says nothing to its reader. It is no secret, and it is checked when it comes back."""
    return base64url_encode(msgspec.json.encode(place))


def read_cursor(call: Call, shape: type[_T]) -> _T | None:
    """Return the place after which the page begins, a tuple of this type; None for the first page. Raises `InvalidFields`."""
    text = call.request.query_params.get("after", "")
    if not text:
        return None
    try:
        return msgspec.json.decode(base64url_decode(text[:MAX_CURSOR]), type=shape)
    except (InvalidToken, ValueError):  # of which msgspec's errors are some
        raise InvalidFields([("after", mark("must be the `next` of an earlier answer"))]) from None

"""Write all data of one person as JSON."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

Row = dict[str, Any]
Pages = AsyncIterator[list[Row]]
"""The rows of one section, some at a time."""
_encode = msgspec.json.Encoder().encode


async def write_own_data(subject: str, sections: Mapping[str, Pages], now_ms: int) -> AsyncIterator[bytes]:
    """Yield a JSON object piece by piece, as its rows are read.

    Names are in camel case, and times are those of RFC 3339.

    Args:
        subject: Whose data it is.
        sections: The rows, by the name of their section.
        now_ms: When it is written, in milliseconds since 1970.
    """
    text = b'{"id":' + _encode(subject) + b',"exportedAt":' + _encode(_format(now_ms))
    for name, pages in sections.items():
        text += b',"' + name.encode() + b'":['
        separator = b""
        async for rows in pages:
            for row in rows:
                text += separator + _encode(dict(_describe_field(field, value) for field, value in row.items()))
                separator = b","
            yield text
            text = b""
            await asyncio.sleep(0)  # a store in a file does not wait, and other requests must have their turn
        text += b"]"
    yield text + b"}"


def _describe_field(name: str, value: Any) -> tuple[str, Any]:
    if name.endswith("_at_ms"):
        name, value = name.removesuffix("_ms"), None if value is None else _format(value)
    first, *others = name.split("_")
    return "".join((first, *map(str.capitalize, others))), value


def _format(at_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms // 1000, tz=datetime.UTC)

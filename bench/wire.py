"""Write requests and parse answers of HTTP/1.1 as bytes: the minimum for the load generator, and fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    head: bytes
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON."""
        return msgspec.json.decode(self.body)

    def headers(self, name: bytes) -> list[bytes]:
        """Return the values of all headers of a name, written in lower case."""
        lines = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.strip() for key, _, value in lines if key.lower() == name]


def request(method: bytes, path: bytes, *headers: bytes, body: bytes = b"", kind: bytes = b"application/json") -> bytes:
    """Return the bytes of a request; `headers` are complete lines without line ends, `kind` is the body's media type."""
    lines = [b"%s %s HTTP/1.1\r\nHost: localhost" % (method, path), *headers]
    if body:
        lines.append(b"Content-Type: %s" % kind)
    if body or method == b"POST":
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes, *headers: bytes) -> bytes:
    """Return a GET request."""
    return request(b"GET", path, *headers)


def post(path: bytes, body: object, *headers: bytes) -> bytes:
    """Return a POST request whose body is JSON."""
    return request(b"POST", path, *headers, body=msgspec.json.encode(body))


def post_form(path: bytes, fields: Mapping[str, str], *headers: bytes) -> bytes:
    """Return a POST request whose body is a form."""
    body = urlencode(fields).encode()
    return request(b"POST", path, *headers, body=body, kind=b"application/x-www-form-urlencoded")


def bearer(token: str) -> bytes:
    """Return the Authorization header for a token."""
    return b"Authorization: Bearer " + token.encode()


def parse_answer(data: bytes) -> tuple[Answer, int] | None:
    """Return the first complete answer and its length in bytes, or None if it is not complete yet.

    It reads `Content-Length` and chunks (RFC 9112 §6.3, §7.1) and skips interim answers. An answer with neither ends with its
    connection, so it is never complete here. Requests must not be HEAD. Raises `ValueError` if the bytes are not HTTP/1.1.
    """
    start = 0
    while True:
        end = data.find(b"\r\n\r\n", start)
        if end < 0:
            return None
        head, start = data[start:end], end + 4
        if not head.startswith(b"HTTP/1.1 "):
            raise ValueError(f"no HTTP/1.1 answer: {head[:60]!r}")
        if (status := int(head[9:12])) >= 200:
            break
    fields = head.lower()
    if status in (204, 304):
        return Answer(status, head, b""), start
    if b"chunked" in _value(fields, b"\r\ntransfer-encoding:"):
        whole = _join_chunks(data, start)
        return whole and (Answer(status, head, whole[0]), whole[1])
    if length := _value(fields, b"\r\ncontent-length:"):
        end = start + int(length)
        return (Answer(status, head, data[start:end]), end) if len(data) >= end else None
    return None


def _value(fields: bytes, name: bytes) -> bytes:
    place = fields.find(name)
    return fields[place + len(name) :].partition(b"\r\n")[0] if place >= 0 else b""


def _join_chunks(data: bytes, start: int) -> tuple[bytes, int] | None:
    parts: list[bytes] = []
    while (end := data.find(b"\r\n", start)) >= 0:
        size = int(data[start:end].partition(b";")[0], 16)
        start = end + 2
        if size == 0:
            end = start if data.startswith(b"\r\n", start) else data.find(b"\r\n\r\n", start) + 2
            return (b"".join(parts), end + 2) if len(data) >= end + 2 and end >= start else None
        parts.append(data[start : start + size])
        start += size + 2
    return None


def has_length(head: bytes) -> bool:
    """Return whether an answer's head gives the length of its body; otherwise the connection's end does."""
    fields = head.lower()
    return bool(_value(fields, b"\r\ncontent-length:") or _value(fields, b"\r\ntransfer-encoding:"))

"""Reads request bodies strictly: bounded in size and time, of one media type, with every wrong field named."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from ..errors import InvalidFields, InvalidRequest, RequestTooLarge, UnsupportedMediaType
from ..text import mark, mark_instead
from .fields import HeaderFields

MAX_BODY_BYTES = 64 * 1024
MAX_FORM_FIELDS = 32
MAX_ESCAPES = 2560
"""Percent-encoded bytes in a form or a query. Decoding each costs time; two passwords of 256 emoji need 2,048."""
MAX_MEMBERS = 32
BODY_TIMEOUT_S = 20.0
_LENGTH = re.compile("[0-9]{1,9}", re.ASCII)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = "handstamp.fields"
FORM = "application/x-www-form-urlencoded"
_T = TypeVar("_T", bound=msgspec.Struct)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


async def read_json(request: Request, shape: type[_T]) -> _T | None:
    """Return the JSON body as a `shape`, or None if the body is empty or `null`. A byte order mark is no part of it.

    Raises:
        RequestTooLarge: The body is longer than `MAX_BODY_BYTES`.
        UnsupportedMediaType: The body is not `application/json`.
        InvalidFields: Fields do not fit the shape; every one is named.
        InvalidRequest: The body is not a JSON object, or did not arrive in time.
    """
    headers = HeaderFields(request.scope["headers"])
    data = await _read(request, headers)
    if not data:
        return None
    if _media_type(headers) != "application/json":
        raise UnsupportedMediaType(mark("Send the body as JSON, with 'Content-Type: application/json'."))
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if data.strip() == b"null":
        return None
    try:
        return msgspec.json.decode(data, type=shape)
    except _UNREADABLE:
        raise _describe_error(data, shape) from None


async def read_form(request: Request, shape: type[_T]) -> _T:
    """Return the form in the body as a `shape`. A parameter without a value counts as absent (RFC 6749 §3.2).

    Raises:
        InvalidRequest: The form does not fit the shape. All others as `read_fields`.
    """
    try:
        return msgspec.convert(await read_fields(request), shape)
    except msgspec.ValidationError as problem:
        english = f"{problem}."
        raise InvalidRequest(
            mark_instead("The body does not have the fields that this request needs, or one has the wrong type.", english=english)
        ) from None


async def read_fields(request: Request) -> dict[str, str]:
    """Return the fields of the form in the body. It can be called again.

    Raises:
        RequestTooLarge: The body is longer than `MAX_BODY_BYTES`, or has more than `MAX_ESCAPES` percent-encoded bytes.
        UnsupportedMediaType: The body is not a form.
        InvalidRequest: The form cannot be decoded, or names a parameter twice.
    """
    known: dict[str, str] | None = request.scope.get(_FIELDS)
    if known is not None:
        return known
    headers = HeaderFields(request.scope["headers"])
    data = await _read(request, headers)
    if _media_type(headers) != FORM:
        raise UnsupportedMediaType(mark("Send the body as a form, with 'Content-Type: %(type)s'.", type=FORM))
    fields = parse_fields(data)
    put_fields(request, fields)
    return fields


def put_fields(request: Request, fields: dict[str, str]) -> None:
    """Have `read_form` return these fields from now on, whatever the body says."""
    request.scope[_FIELDS] = fields


def parse_fields(data: bytes) -> dict[str, str]:
    """Return the fields of a form (URL standard §5.1). Raises as `read_fields`."""
    if data.count(b"%") > MAX_ESCAPES:
        raise RequestTooLarge(mark("The form has more than %(limit)s percent-encoded bytes.", limit=MAX_ESCAPES))
    try:
        pairs = parse_qsl(data.decode("ascii"), errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise InvalidRequest(mark("The body is not a valid form.")) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidRequest(mark("A parameter comes more than once."))
    return fields


def require_body(body: _T | None) -> _T:
    """Return a decoded body. Raises `InvalidRequest` if there was none."""
    if body is None:
        raise InvalidRequest(mark("This request needs a JSON body."))
    return body


def _media_type(headers: HeaderFields) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read(request: Request, headers: HeaderFields) -> bytes:
    """Return the whole body. A body that is too large is refused as soon as that is known."""
    encoding = headers.get("content-encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        raise UnsupportedMediaType(mark("Send the body as it is, without Content-Encoding: compressed bodies are not accepted."))
    declared = headers.get("content-length")
    if declared is not None and (not _LENGTH.fullmatch(declared) or int(declared) > MAX_BODY_BYTES):
        raise RequestTooLarge(mark("The body must have at most %(limit)s bytes.", limit=MAX_BODY_BYTES))
    if getattr(getattr(request.receive, "__self__", None), "has_whole_body", False):  # our own server says so, see `AnswerCycle`
        return await _collect(request)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _collect(request)
    except TimeoutError:
        raise InvalidRequest(mark("The body did not arrive in time.")) from None


async def _collect(request: Request) -> bytes:
    data: bytes = b""
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise InvalidRequest(mark("The connection was closed before the body had arrived."))
        data += message.get("body", b"")
        if len(data) > MAX_BODY_BYTES:
            raise RequestTooLarge(mark("The body must have at most %(limit)s bytes.", limit=MAX_BODY_BYTES))
        if not message.get("more_body", False):
            return data


def _describe_error(data: bytes, shape: type[msgspec.Struct]) -> InvalidRequest:
    """Return why a body does not fit its shape.

    All members are looked at: behind the first wrong field there may be others, or broken JSON. Values are not decoded, except
    as the type of their field: a list of floating-point numbers, for which no field has room, would take 100 ms.
    """
    try:
        data.decode("utf-8")
        if not data.lstrip().startswith(b"{"):
            msgspec.json.decode(data, type=msgspec.Raw)
            return InvalidRequest(mark("The body must be a JSON object."))
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        if len(members) > MAX_MEMBERS:
            return InvalidRequest(mark("The body has more than %(limit)s members.", limit=MAX_MEMBERS))
        return InvalidFields(_describe_fields(members, shape))
    except _UNREADABLE:
        return InvalidRequest(mark("The body is not JSON."))


def _describe_fields(members: dict[str, msgspec.Raw], shape: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """Return (field, what is wrong) for every member that does not fit, and for every field that is missing."""
    known = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    problems = [(name, mark("is not a field of this request")) for name in members if name not in known]
    for name, field in known.items():
        if name not in members:
            if field.required:
                problems.append((name, mark("is missing")))
            continue
        try:
            msgspec.json.decode(members[name], type=field.type)
        except msgspec.ValidationError as problem:
            problems.append(
                (name, mark_instead("does not have the type or the length that this request needs", english=str(problem)))
            )
    return problems

"""Requests that are meant to cost a server more than they cost their sender, for every field of every endpoint.

Values stand at the bounds of what is read: 64 KiB of head or body. What is hostile about each is its name.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import pkgutil
import random
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import msgspec

from handstamp.domain.issuer import Issuer
from handstamp.domain.one_time import PURPOSES
from handstamp.web import pages
from handstamp.web.api.shapes import RequestShape
from handstamp.web.cookies import Cookies
from handstamp.web.pages.mailed import CODE_PAGES, MailedForm
from handstamp.web.pages.routes import page_routes

ROOM = 60_000
"""Bytes of a value: with the rest of a request, about 64 KiB."""
ISSUER = "http://localhost"
"""The service must have it, so that it reads these cookies."""
COOKIES = Cookies(Issuer(ISSUER))
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
_dice = random.Random(16)
_MARKS = "\u0301\u0323\u0327\u0345"


def token_like(header: bytes, rest: str = "") -> str:
    """Return something with the form of a JWS."""
    head = base64.urlsafe_b64encode(header).decode().rstrip("=")
    return f"{head}.{rest or 'e30'}.{'A' * 86}"


def texts(kid: str) -> dict[str, str]:
    """Return values for a field of text; `kid` names a key of the service."""
    known = f'{{"alg":"ES256","kid":"{kid}","typ":"at+jwt"}}'.encode()
    return {
        "ascii": "a" * ROOM,
        "marks": _MARKS * (ROOM // 8),
        "marks at the bound of a password": "a" + _MARKS * 255,
        "mixed marks at the bound": "".join(_dice.choice(_MARKS) for _ in range(1024)),
        "256 signs": "\U0001d400" * 256,
        "ligatures": "\ufdfa" * 256,
        "sharp s": "ß" * 256,
        "almost monotonous": "ab" * 127 + "c",
        "passwords in a row": "passwordsunshine" * 16,
        "look-alikes": "1!|0345" * 36,
        "emoji": "👩‍👩‍👧‍👦" * 36,
        "domain of marks": "a@" + "a\u0301" * 30 + ".example",
        "many international labels": "a@" + ".".join(["ü"] * 120) + ".de",
        "long international label": "a@" + "ü" * 63 + ".de",
        "long international domain": "a@" + "ü." * 300 + "de",
        "punycode": "a@" + ".".join(["xn--" + "a" * 59] * 3) + ".de",
        "punycode of much": "a@xn--" + "9" * 59 + ".com",
        "many labels": "a@" + "a." * 120 + "com",
        "right to left": "a@" + "\u05d0" * 60 + "." + "\u0627" * 60 + ".com",
        "quoted local part": '"' + "\\a" * 30 + '"@example.com',
        "many at": "@" * 254,
        "dots": "." * 8192,
        "more dots": "." * ROOM,
        "base64": base64.b64encode(bytes(range(256)) * 175).decode()[:ROOM],
        "token with a wide header": token_like(b'{"a":[' + b",".join([b"0"] * 2900) + b"]}"),
        "token with many members": token_like(json.dumps({f"{number:x}": 0 for number in range(700)}).encode()),
        "token with a deep header": token_like(b'{"a":' + b"[" * 2900 + b"]" * 2900 + b"}"),
        "token with an open header": token_like(b'{"a":"' + b'"[' * 2900),
        "token with a long kid": token_like(b'{"alg":"ES256","kid":"' + b"k" * 5900 + b'","typ":"at+jwt"}'),
        "token with a long number": token_like(b'{"alg":' + b"9" * 5900 + b"}"),
        "token with a wide short header": token_like(b'{"a":[' + b",".join([b"0"] * 370) + b"]}"),
        "token with a deep short header": token_like(b'{"a":"","b":' + b"[" * 370 + b"]" * 370 + b"}"),
        "token with many exponents": token_like(b'{"alg":"a","typ":"b","kid":"c","crit":[' + b",".join([b"1e308"] * 115) + b"]}"),
        "token with our header": token_like(known, "A" * 700),
        "token with our header, long": token_like(known, "A" * 7900),
        "slashes": "/" + "/a" * 1000,
        "a long address": "http://localhost:1/" + "%41" * 670,
        "brackets": "http://[" + ":" * 1000 + "]",
        "numbers": "9" * ROOM,
        "separators": "1." * (ROOM // 2),
        "escapes": '\\"' * (ROOM // 4),
        "markup": "<&'\">" * (ROOM // 30),
    }


def json_values() -> dict[str, str]:
    """Return JSON that is no text, for any member."""
    return {
        "deep": "[" * (ROOM // 2) + "]" * (ROOM // 2),
        "deep objects": '{"a":' * (ROOM // 6) + "1" + "}" * (ROOM // 6),
        "open": "[" * ROOM,
        "wide": "[" + "0," * (ROOM // 2) + "0]",
        "empty lists": "[" + "[]," * (ROOM // 3) + "0]",
        "members": json.dumps({f"{number:x}": 0 for number in range(5800)}),
        "one member": "{" + '"a":0,' * (ROOM // 6) + '"a":0}',
        "long number": "9" * ROOM,
        "long fraction": "0." + "1" * ROOM,
        "exponent": "1e" + "9" * ROOM,
        "many exponents": "[" + "1e308," * (ROOM // 6) + "0]",
        "escapes": '"' + "\\u0301" * (ROOM // 6) + '"',
        "surrogates": '"' + "\\ud83d\\ude00" * (ROOM // 12) + '"',
        "half surrogates": '"' + "\\ud83d" * (ROOM // 6) + '"',
        "spaces": " " * ROOM + "1",
    }


_LISTS = (
    "a" * ROOM,
    "\x7f" * ROOM,
    "," * ROOM,
    '"a",' * (ROOM // 4),
    ";" * ROOM,
    "a,b;q=0.1," * (ROOM // 10),
    "%41" * (ROOM // 3),
)
_HEADERS = {
    "User-Agent": ("\x7f" * ROOM, "é" * ROOM, "a/1 (b) " * (ROOM // 8)),
    "Accept-Language": ("a,b;q=0.1," * (ROOM // 10),),
    "Origin": ("http://" + "a." * (ROOM // 2), "null," * (ROOM // 5)),
    "Referer": ("http://" + "a/" * (ROOM // 2),),
    "If-None-Match": _LISTS,
    "If-Modified-Since": ("Mon, " * (ROOM // 5), "1 " * (ROOM // 2), "(" * ROOM),
    "Range": ("bytes=" + "0-0," * (ROOM // 4), "bytes=" + "," * ROOM, "bytes=" + "9" * ROOM + "-"),
    "If-Range": _LISTS[:2],
    "Content-Type": _LISTS,
    "Content-Encoding": _LISTS[:3],
    "Forwarded": _LISTS[:5],
    "X-Forwarded-Proto": _LISTS[:3],
    "X-Forwarded-For": (
        *_LISTS,
        "10.0.0.1," * (ROOM // 9),
        "127.0.0.1," * (ROOM // 10),
        "::1, " * (ROOM // 5),
        "[::1]:" + "9" * 5000,
    ),
    "Sec-Fetch-Site": _LISTS[:3],
    "Idempotency-Key": _LISTS[:4],
    "Secure-Session-Response": (*_LISTS[:3], "a.b.c" * (ROOM // 5), "." * ROOM, '"' * ROOM),
    "DPoP": (*_LISTS[:3], "." * ROOM, "e30.e30." + "A" * 2000),
    "Sec-Secure-Session-Id": (*_LISTS[:2], '"' * ROOM),
    "Authorization": ("Basic " + "!" * ROOM, "Bearer" + " " * ROOM, "a " * (ROOM // 2)),
    "Cookie": (
        ";" * ROOM,
        "a=b; " * (ROOM // 5),
        "a; " * 190 + "b" * (ROOM - 600),
        '"' * ROOM,
        "=" * ROOM,
        f"{COOKIES.access}=;" * 190,
    ),
}


def headers(kid: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield names and header fields that any request may have."""
    for name, values in _HEADERS.items():
        yield from ((f"{name}: {value[:8]!r}", ((name, value),)) for value in values)
    plain = {kind: text for kind, text in texts(kid).items() if text.isascii()}
    for kind, text in plain.items():
        yield f"Bearer {kind}", (("Authorization", f"Bearer {text}"),)
        yield f"refresh cookie {kind}", (("Cookie", f"{COOKIES.refresh}={text}"),)
        yield f"access cookie {kind}", (("Cookie", f"{COOKIES.access}={text}"),)
    for text in ("%41" * (ROOM // 4), "a" * (ROOM // 2), ":" * (ROOM // 2), "%" * 300, "+" * 300):
        yield f"Basic {text[:4]!r}", (("Authorization", "Basic " + base64.b64encode(text.encode()).decode()),)
    known = plain["token with our header"]
    cookies = "; ".join(
        f"{name}={known[:-2]}{number}" for name, number in zip([COOKIES.access, COOKIES.refresh] * 4, "0123456", strict=False)
    )
    for name, fields in {
        "many tokens": (("Cookie", cookies), ("Authorization", f"Bearer {known}"), ("Sec-Fetch-Site", "same-origin")),
        "many costly tokens": (
            ("Cookie", cookies.replace(known[:-2], plain["token with many exponents"][:-2])),
            ("Sec-Fetch-Site", "same-origin"),
        ),
        "many Authorization": (("Authorization", f"Bearer {known}"),) * 90,
        "many Cookie": tuple(("Cookie", f"a{number}=b; c=d") for number in range(90)),
        "many X-Forwarded-For": (("X-Forwarded-For", "127.0.0.1"),) * 90,
        "many fields": tuple((f"X-{number}", "b" * 600) for number in range(90)),
    }.items():
        yield name, fields


def encode(shape: type[msgspec.Struct], values: Mapping[str, str]) -> bytes:
    """Return an ordinary body: those of the values that are fields of a shape, as JSON or as a form."""
    known = {field.encode_name for field in msgspec.structs.fields(shape)}
    fields = {name: value for name, value in values.items() if name in known}
    return json.dumps(fields).encode() if issubclass(shape, RequestShape) else _form(fields)


def bodies(shape: type[msgspec.Struct], values: Mapping[str, str], kid: str) -> Iterator[tuple[str, bytes]]:
    """Yield names and hostile bodies for every field of a shape, for a field that is unknown, and for bodies without fields."""
    known = [field.encode_name for field in msgspec.structs.fields(shape)]
    write = _json_bodies if issubclass(shape, RequestShape) else _form_bodies
    for name in [*known, "unknown"]:
        others = {key: values[key] for key in known if key in values and key != name}
        yield from write(name, others, texts(kid))
    for kind, raw in json_values().items():
        yield kind, raw.encode()
    for piece in (b"&", b"a&", b"a=&", b"=;", b"a=b;", b"%26", b"%61=%61&"):
        yield repr(piece), piece * (ROOM // len(piece))


def _json_bodies(name: str, others: Mapping[str, str], values: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    members = "".join(f"{json.dumps(key)}:{json.dumps(value)}," for key, value in others.items())
    for kind, text in values.items():
        yield f"{name}: {kind}", f'{{{members}"{name}":{json.dumps(text, ensure_ascii=False)}}}'.encode()
    for kind, raw in json_values().items():
        yield f"{name}: {kind}", f'{{{members}"{name}":{raw}}}'.encode()


def _form_bodies(name: str, others: Mapping[str, str], values: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for kind, text in values.items():
        yield f"{name}: {kind}", _form({**others, name: text})
    for piece in ("%61", "+", "%", f"a&{name}="):
        yield f"{name}: {piece}", _form({**others, name: ""}) + (piece * (ROOM // len(piece))).encode()


def page_forms() -> dict[str, type[msgspec.Struct]]:
    """Return the form that each page with a form reads, by path, as the source of its handler says. Some have no field."""
    modules = [importlib.import_module(f"{pages.__name__}.{found.name}") for found in pkgutil.iter_modules(pages.__path__)]
    named = {name: value for module in modules for name, value in vars(module).items() if isinstance(value, type)}
    handlers = {name: value for kind in named.values() for name, value in vars(kind).items() if name.startswith("submit_")}
    found = {}
    for path, handler in re.findall(r'"POST", "([^"]+)", \w+\.(\w+)', inspect.getsource(page_routes)):
        shape = re.search(r"read_form\(call\.request, (\w+)\)", inspect.getsource(handlers[handler]))
        found[path] = named[shape[1]] if shape else msgspec.defstruct("Form", [])
    for purpose, rule in PURPOSES.items():
        found |= dict.fromkeys(filter(None, (rule.page, CODE_PAGES.get(purpose))), MailedForm)
    return found


def _form(values: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items()).encode()[: 64 * 1024]

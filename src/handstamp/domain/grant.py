"""What a session's access tokens say beyond who signed in and when: scopes, roles, and claims of the application's own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import InvalidFields

MAX_BYTES = 1536
"""As JSON, together. A token has to fit into a cookie, and travels with every request (OWASP ASVS 3.3.5)."""
MAX_DEPTH = 8
MAX_SUBJECT_LENGTH = 255
REGISTERED = frozenset(
    {"iss", "aud", "sub", "client_id", "iat", "exp", "nbf", "jti", "sid", "auth_time", "scope", "roles", "gen"}
    | {"acr", "amr", "azp", "act", "may_act", "cnf", "nonce", "at_hash", "c_hash", "typ", "events"}
)
"""Claims that mean something to whoever verifies (RFC 7519 §4.1, RFC 9068 §2.2, IANA): nobody adds them on the side."""
_SCOPE = re.compile(r"(?:[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*)?")  # RFC 6749 §3.3
_NAME = re.compile(r"[A-Za-z0-9_:./-]{1,128}", re.ASCII)


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Scopes (a space-separated list), roles and further claims. Made by `grant_of`, which refuses what cannot be."""

    scope: str = ""
    roles: tuple[str, ...] = ()
    claims: dict[str, Any] = {}

    def __add__(self, other: Grant) -> Grant:
        """Return both together; of two claims of one name the other's counts."""
        if not (other.scope or other.roles or other.claims):
            return self
        return Grant(
            scope=" ".join(dict.fromkeys([*self.scope.split(), *other.scope.split()])),
            roles=tuple(dict.fromkeys([*self.roles, *other.roles])),
            claims=self.claims | other.claims,
        )


NOTHING = Grant()


def grant_of(*, scope: object = "", roles: object = (), claims: Mapping[str, Any] | None = None) -> Grant:
    """Return a grant. Raises `InvalidFields` naming everything about it that cannot be."""
    problems: list[tuple[str, str]] = []
    if type(scope) is not str or _SCOPE.fullmatch(scope) is None:
        problems.append(("scope", "must be words of printable ASCII with one space between them (RFC 6749 §3.3)"))
    if not isinstance(roles, tuple | list) or not all(role and type(role) is str and _is_json(role, 0) for role in roles):
        problems.append(("roles", "must be a list of texts"))
    if claims is not None and not isinstance(claims, Mapping):
        problems.append(("claims", "must be a mapping of names to values"))
        claims = None
    for name, value in (claims or {}).items():
        problem = _problem_with(name, value)
        if problem:
            problems.append((f"claims.{ascii(str(name)[:80])[1:-1]}", problem))
    if problems:
        raise InvalidFields(problems)
    encoded = msgspec.json.encode([scope, roles, dict(claims or {})])
    if len(encoded) > MAX_BYTES:
        raise InvalidFields(
            [("claims", f"have {len(encoded)} bytes as JSON, with scope and roles; {MAX_BYTES} is the most that fits")]
        )
    # Made anew out of that: whoever handed it in may go on changing theirs.
    return Grant(*msgspec.json.decode(encoded, type=tuple[str, tuple[str, ...], dict[str, Any]]))


def subject_of(value: object) -> str:
    """Return a subject as tokens carry it. Raises `InvalidFields` for what is no name of anybody."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBJECT_LENGTH:
        raise InvalidFields([("subject", f"must be a text of 1 to {MAX_SUBJECT_LENGTH} characters")])
    if any(unicodedata.category(character).startswith("C") for character in value):
        raise InvalidFields([("subject", "must not hold control characters")])
    return str(value)  # of exactly that type, as the encoder wants it


def _problem_with(name: object, value: object) -> str | None:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        return "is no name for a claim: 1 to 128 characters of A-Z a-z 0-9 _ : . / -"
    if name in REGISTERED:
        return "is a claim that Handstamp or a standard gives a meaning to: choose another name"
    return (
        None
        if _is_json(value, MAX_DEPTH)
        else f"must be JSON: text, number, true, false, null, lists and objects of {MAX_DEPTH} levels"
    )


def _is_json(value: object, depth: int) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if type(value) is str:  # a subclass may be encoded as something else
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, int | float) and type(value) in (int, float):
        return abs(value) < 2**53  # neither infinite nor NaN, and the same number for every reader
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(name, 0) and _is_json(item, depth - 1) for name, item in value.items())
    return isinstance(value, list | tuple) and all(_is_json(item, depth - 1) for item in value)

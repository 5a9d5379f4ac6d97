"""Scopes, roles and the application's own claims in a session's access tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import InvalidFields

MAX_BYTES = 1536
"""The size of a grant as JSON. A token must fit into a cookie, and travels with every request (OWASP ASVS 3.3.5)."""
MAX_DEPTH = 8
"""How deep lists and objects in a claim may nest."""
MAX_SUBJECT_LENGTH = 255
REGISTERED = frozenset(
    {"iss", "aud", "sub", "client_id", "iat", "exp", "nbf", "jti", "sid", "auth_time", "scope", "roles", "gen"}
    | {"acr", "amr", "azp", "act", "may_act", "cnf", "nonce", "at_hash", "c_hash", "typ", "events"}
)
"""Claims with a defined meaning for verifiers (RFC 7519 §4.1, RFC 9068 §2.2, IANA). An application cannot set them."""
_SCOPE = re.compile(r"(?:[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*)?")  # RFC 6749 §3.3
_NAME = re.compile(r"[A-Za-z0-9_:./-]{1,128}", re.ASCII)


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Scopes (a space-separated list), roles and further claims. Made by `parse_grant`, which refuses invalid values."""

    scope: str = ""
    roles: tuple[str, ...] = ()
    claims: dict[str, Any] = {}

    def __add__(self, other: Grant) -> Grant:
        """Merge two grants; on a name conflict `other` wins."""
        if not (other.scope or other.roles or other.claims):
            return self
        return Grant(
            scope=" ".join(dict.fromkeys([*self.scope.split(), *other.scope.split()])),
            roles=tuple(dict.fromkeys([*self.roles, *other.roles])),
            claims=self.claims | other.claims,
        )


NOTHING = Grant()


def parse_grant(*, scope: object = "", roles: object = (), claims: Mapping[str, Any] | None = None) -> Grant:
    """Return a grant made from values of the application.

    Args:
        scope: A space-separated list of scopes (RFC 6749 §3.3).
        roles: A list or a tuple of non-empty texts.
        claims: Claims by name. Values are JSON of at most `MAX_DEPTH` levels; names in `REGISTERED` are refused.

    Raises:
        InvalidFields: If a value is invalid or the grant has more than `MAX_BYTES` bytes. Every problem is listed.
    """
    problems: list[tuple[str, str]] = []
    if type(scope) is not str or _SCOPE.fullmatch(scope) is None:
        problems.append(("scope", "must be words of printable ASCII separated by single spaces (RFC 6749 §3.3)"))
    if not isinstance(roles, tuple | list) or not all(role and type(role) is str and _is_json(role, 0) for role in roles):
        problems.append(("roles", "must be a list of texts"))
    if claims is not None and not isinstance(claims, Mapping):
        problems.append(("claims", "must be a mapping of names to values"))
        claims = None
    for name, value in (claims or {}).items():
        problem = _find_claim_problem(name, value)
        if problem:
            problems.append((f"claims.{ascii(str(name)[:80])[1:-1]}", problem))
    if problems:
        raise InvalidFields(problems)
    encoded = msgspec.json.encode([scope, roles, dict(claims or {})])
    if len(encoded) > MAX_BYTES:
        raise InvalidFields([("claims", f"have {len(encoded)} bytes as JSON with scope and roles; the limit is {MAX_BYTES}")])
    # Decoded from the JSON, so that the application cannot change the grant through its own objects.
    return Grant(*msgspec.json.decode(encoded, type=tuple[str, tuple[str, ...], dict[str, Any]]))


def parse_subject(value: object) -> str:
    """Return `value` if it can be the `sub` of a token.

    Raises:
        InvalidFields: If it is not a text of 1 to `MAX_SUBJECT_LENGTH` characters without control characters.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBJECT_LENGTH:
        raise InvalidFields([("subject", f"must be a text of 1 to {MAX_SUBJECT_LENGTH} characters")])
    if any(unicodedata.category(character).startswith("C") for character in value):
        raise InvalidFields([("subject", "must not contain control characters")])
    return str(value)  # the encoder refuses subclasses of str


def _find_claim_problem(name: object, value: object) -> str | None:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        return "is not a valid name for a claim: use 1 to 128 characters of A-Z a-z 0-9 _ : . / -"
    if name in REGISTERED:
        return "is reserved by Handstamp or by a standard: choose another name"
    if not _is_json(value, MAX_DEPTH):
        return f"must be JSON: text, number, true, false, null, and lists and objects of at most {MAX_DEPTH} levels"
    return None


def _is_json(value: object, depth: int) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if type(value) is str:  # a subclass may be encoded differently
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, int | float) and type(value) in (int, float):
        return abs(value) < 2**53  # neither infinite nor NaN, and exact in every JSON parser (RFC 8259 §6)
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(name, 0) and _is_json(item, depth - 1) for name, item in value.items())
    return isinstance(value, list | tuple) and all(_is_json(item, depth - 1) for item in value)

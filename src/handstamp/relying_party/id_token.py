"""What an ID token must say before it is believed (OpenID Connect Core §3.1.3.7), and what it says about a person."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..crypto.foreign_tokens import ForeignToken, half_hash
from ..errors import InvalidToken
from .issuers import IssuerRule

LEEWAY_S = 60
"""How much the clocks of the provider and of this service may differ."""
MAX_ID_TOKEN_LENGTH = 32 * 1024
MAX_SUBJECT_LENGTH = 255
MAX_NAME_LENGTH = 200
MAX_EMAIL_LENGTH = 254
_MAX_METHODS = 16
_METHOD = re.compile(r"[A-Za-z0-9._:-]{1,32}", re.ASCII)
_EMAIL = re.compile(r"[^\s@<>\"(),:;\\\[\]]{1,64}@[^\s@<>\"(),:;\\\[\]]{1,253}")
_Claims = Mapping[str, Any]


class Expected(NamedTuple):
    """What an ID token is compared with."""

    issuers: IssuerRule
    client_id: str
    nonce: str
    access_token: str
    max_age_s: int | None


def check_id_token(token: ForeignToken, expected: Expected, *, now_s: int) -> None:
    """Raise `InvalidToken` if an ID token is not the answer to our request, or not valid now."""
    claims = token.claims
    check_origin(token, expected.issuers, expected.client_id)
    if claims.get("azp", expected.client_id) != expected.client_id:
        raise InvalidToken("azp is another client")
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims:
        raise InvalidToken("there are several audiences, and no azp")
    if claims.get("nonce") != expected.nonce or not expected.nonce:
        raise InvalidToken("nonce is not that of the request")
    if read_time(claims, "exp") <= now_s - LEEWAY_S:
        raise InvalidToken("exp is over")
    if read_time(claims, "iat") > now_s + LEEWAY_S:
        raise InvalidToken("iat is in the future")
    if "nbf" in claims and read_time(claims, "nbf") > now_s + LEEWAY_S:
        raise InvalidToken("nbf is in the future")
    if "at_hash" in claims and claims["at_hash"] != half_hash(token.algorithm, expected.access_token):
        raise InvalidToken("at_hash is not that of the access token")
    if expected.max_age_s is not None and read_time(claims, "auth_time") < now_s - expected.max_age_s - LEEWAY_S:
        raise InvalidToken("the sign-in at the provider is older than was asked for")
    read_subject(claims)


def check_origin(token: ForeignToken, issuers: IssuerRule, client_id: str) -> None:
    """Raise `InvalidToken` if a token is not of the provider, or not for this service."""
    claims = token.claims
    issuer, tenant, audience = claims.get("iss"), claims.get("tid"), claims.get("aud")
    if not isinstance(issuer, str) or not issuers.accepts(issuer, tenant):
        raise InvalidToken("iss is another issuer")
    if not issuers.accepts_key(token.key_issuer, issuer, tenant):
        raise InvalidToken("the key is one of another tenant")
    if audience != client_id and not (isinstance(audience, list) and client_id in audience):
        raise InvalidToken("aud is another client")


def read_time(claims: _Claims, name: str) -> float:
    """Return a claim that is a time, in seconds since 1970. Raises `InvalidToken` if it is missing or no number."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise InvalidToken(f"{name} is missing or not a time")
    return value


def read_subject(claims: _Claims) -> str:
    """Return `sub`. Raises `InvalidToken` if it is missing or malformed (OpenID Connect Core §2)."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not subject.isprintable():
        raise InvalidToken("sub is missing or malformed")
    return subject


def read_text(claims: _Claims, name: str, *, most: int) -> str:
    """Return a claim that identifies something, "" if it is missing, malformed or too long."""
    text = claims.get(name)
    return text if isinstance(text, str) and len(text) <= most and text.isprintable() else ""


def read_email(claims: _Claims) -> str:
    """Return the address, "" if there is none of an acceptable form."""
    email = read_text(claims, "email", most=MAX_EMAIL_LENGTH)
    return email if _EMAIL.fullmatch(email) else ""


def says_true(value: object) -> bool:
    """Return whether a claim is true. Apple and Microsoft write some as text or as a number."""
    return value in ("true", "1") or (isinstance(value, int) and value == 1)


def read_name(value: object) -> str:
    """Return a name for people: without control and format characters, with single spaces, and cut to `MAX_NAME_LENGTH`."""
    if not isinstance(value, str):
        return ""
    kept = "".join(" " if character.isspace() else character for character in value[: 4 * MAX_NAME_LENGTH])
    kept = "".join(character for character in kept if character == " " or unicodedata.category(character)[0] != "C")
    return " ".join(kept.split())[:MAX_NAME_LENGTH].rstrip()


def read_methods(claims: _Claims) -> tuple[str, ...]:
    """Return `amr` (RFC 8176), without values of another form than names of methods."""
    listed = claims.get("amr")
    if not isinstance(listed, list):
        return ()
    return tuple(name for name in listed[:_MAX_METHODS] if isinstance(name, str) and _METHOD.fullmatch(name))


def read_auth_time(claims: _Claims) -> int | None:
    """Return `auth_time`, None if it is missing or malformed."""
    try:
        return int(read_time(claims, "auth_time"))
    except InvalidToken:
        return None

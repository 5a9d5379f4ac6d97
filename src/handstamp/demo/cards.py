"""Membership cards, which are refresh tokens, as the park's page may see them: their generation, and a shortened text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from starlette.datastructures import Headers

from ..domain.claims import RefreshClaims
from ..errors import InvalidToken
from ..service.parts.tokens import TokenIssuer
from ..wire.cookies import parse_cookies

_TOKEN = re.compile(r"(eyJ[\w-]{3})[\w-]*\.[\w-]+\.[\w-]*([\w-]{4})", re.ASCII)


class Cards:
    """Reads the refresh tokens that travel in cookies."""

    def __init__(self, tokens: TokenIssuer, *, cookie: str) -> None:
        """Take what reads refresh tokens, and the name of their cookie."""
        self._tokens = tokens
        self.cookie = cookie

    def carried(self, headers: Headers) -> str | None:
        """Return the refresh token that a request carries, None where it carries none or several."""
        values = parse_cookies(headers.getlist("cookie")).get(self.cookie, set())
        return next(iter(values)) if len(values) == 1 else None

    def read(self, card: str | None) -> RefreshClaims | None:
        """Return what a card says; None for no card of ours, such as one of an earlier demonstration."""
        try:
            return None if not card else self._tokens.read_refresh(card)
        except InvalidToken:
            return None

    def overheard(self, sent: str | None, set_cookie: Iterable[str]) -> str:
        """Return, for a header, what script cannot see of an exchange: the cookies, shortened, and which generations they are."""
        lines = list(set_cookie)
        given = next((value for line in lines if (value := _value(line, self.cookie))), None)
        return json.dumps(
            {
                "cookie": None if sent is None else shortened(f"{self.cookie}={sent}"),
                "sent": self._generation(sent),
                "setCookie": [shortened(line) for line in lines],
                "given": self._generation(given),
            }
        )

    def _generation(self, card: str | None) -> int | None:
        claims = self.read(card)
        return None if claims is None else claims.gen


def shortened(text: str) -> str:
    """Return text in which of every token its first six and its last four characters are left."""
    return _TOKEN.sub(r"\1…\2", text)


def lines_of(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Return the values of a header of a raw answer."""
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _value(set_cookie: str, name: str) -> str | None:
    key, _, value = set_cookie.partition(";")[0].partition("=")
    return value if key == name else None

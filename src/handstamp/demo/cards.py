"""Read membership cards (refresh tokens) for the park's page: their generation and a shortened text."""

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
        """Keep the token issuer, which reads refresh tokens, and the name of their cookie."""
        self._tokens = tokens
        self.cookie = cookie

    def from_request(self, headers: Headers) -> str | None:
        """Return the refresh token of a request's cookie, or None if the request has none or several."""
        values = parse_cookies(headers.getlist("cookie")).get(self.cookie, set())
        return next(iter(values)) if len(values) == 1 else None

    def read(self, card: str | None) -> RefreshClaims | None:
        """Return a card's claims, or None if it is not valid here, such as a card of an earlier demonstration."""
        try:
            return None if not card else self._tokens.read_refresh(card)
        except InvalidToken:
            return None

    def describe_cookies(self, sent: str | None, set_cookie: Iterable[str]) -> str:
        """Return an exchange's cookies, which script cannot see, as JSON for a header: shortened, with their generations."""
        lines = list(set_cookie)
        given = next((value for line in lines if (value := _cookie_value(line, self.cookie))), None)
        return json.dumps(
            {
                "cookie": None if sent is None else shorten_tokens(f"{self.cookie}={sent}"),
                "sent": self._generation(sent),
                "setCookie": [shorten_tokens(line) for line in lines],
                "given": self._generation(given),
            }
        )

    def _generation(self, card: str | None) -> int | None:
        claims = self.read(card)
        return None if claims is None else claims.gen


def shorten_tokens(text: str) -> str:
    """Shorten every token in a text to its first six and last four characters."""
    return _TOKEN.sub(r"\1…\2", text)


def header_values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Return all values of one header of a raw ASGI response."""
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _cookie_value(set_cookie: str, name: str) -> str | None:
    key, _, value = set_cookie.partition(";")[0].partition("=")
    return value if key == name else None

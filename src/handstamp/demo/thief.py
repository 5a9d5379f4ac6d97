"""The thief: another client, with a copy of the visitor's card, which it presents to the real service over the network."""

from __future__ import annotations

import http.client
from typing import Any

from ..domain.issuer import Issuer
from .cards import Cards, shortened

_PATIENCE_S = 10.0
_SHOWN = ("content-type", "www-authenticate", "cache-control", "set-cookie")


def renew_with(card: str, cards: Cards, *, issuer: Issuer, address: tuple[str, int]) -> dict[str, Any]:
    """Ask the service at `address` to renew a copied card; return what was sent and what was answered, tokens shortened.

    A browser's script could not send this cookie. A program sends what it likes, the service's own origin, too.
    """
    headers = {
        "host": issuer.origin.partition("://")[2],
        "origin": issuer.origin,
        "user-agent": "thief/1.0",
        "cookie": f"{cards.cookie}={card}",
    }
    connection = http.client.HTTPConnection(*address, timeout=_PATIENCE_S)
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
        "sent": [shortened(f"{name}: {value}") for name, value in headers.items()],
        "received": [shortened(f"{name}: {value}") for name, value in received if name in _SHOWN],
        "body": shortened(body),
        "overheard": cards.overheard(card, set_cookie),
    }

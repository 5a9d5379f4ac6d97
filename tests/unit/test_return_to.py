"""Where a visitor may be redirected after signing in: no open redirect (ASVS 3.7.2)."""

from __future__ import annotations

import pytest

from handstamp.web.pages.destination import may_return_to

OWN = "https://auth.example.com"
TRUSTED = frozenset({"https://app.example.com", "https://app.example.com:8443"})


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/orders/7?sort=age#last",
        "https://auth.example.com/account",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com:443/orders",
        "https://app.example.com:8443/orders?to=https://evil.example",
        "HTTPS://APP.example.com/",
    ],
)
def test_own_and_trusted_targets_are_accepted(url: str) -> None:
    """A path of the service and any page of a trusted origin are allowed."""
    assert may_return_to(url, own=OWN, trusted=TRUSTED)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "orders",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "\n//evil.example",
        " //evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://app.example.com@evil.example",
        "https://evil.example#@app.example.com",
        "https://app.example.com:444",
        "http://app.example.com",
        "https://app.example.com\\@evil.example",
        "https://",
        "https://[",
        "javascript:alert(1)",
        "data:text/html,hello",
        "https://äpp.example.com",
        "/" + "x" * 2048,
    ],
)
def test_other_targets_are_refused(url: str) -> None:
    """Other origins are refused, and so is any URL that browsers may parse differently from us."""
    assert not may_return_to(url, own=OWN, trusted=TRUSTED)

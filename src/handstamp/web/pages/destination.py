"""Where an application wants its visitor to go after signing in, and how the tokens shall travel."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...domain.delivery import Delivery
from ...domain.issuer import origin_of
from ...errors import InvalidRequest
from ...text import mark
from ..edge import Edge

_PLAIN = re.compile(r"[!-\[\]-~]{1,2048}")
"""ASCII without spaces, control characters and backslashes, which browsers read in ways of their own."""

_DELIVERIES: dict[str, Delivery | None] = {"": None, "split": "split", "cookie": "cookie"}


@dataclass(frozen=True, slots=True)
class Destination:
    """What a link to a page asks for. Both parts are optional."""

    return_to: str
    delivery: Delivery | None

    @classmethod
    def parse(cls, values: Mapping[str, str], edge: Edge) -> Destination:
        """Return the destination that a query or a form names. Raises `InvalidRequest` if it is not allowed."""
        return_to, delivery = values.get("return_to", ""), values.get("delivery", "")
        if delivery not in _DELIVERIES:
            raise InvalidRequest(mark("The link to this page asks for a delivery that is neither split nor cookie."))
        if return_to and not may_return_to(return_to, own=edge.issuer.origin, trusted=edge.trusted_origins):
            raise InvalidRequest(
                mark(
                    "The link to this page wants to send you on to an address that this service does not trust. "
                    "If it is yours, add its origin to the trusted origins."
                )
            )
        return cls(return_to, _DELIVERIES[delivery])

    @property
    def query(self) -> str:
        """The part of a query that names this destination, for a link to another page."""
        return query_of({"return_to": self.return_to, "delivery": self.delivery or ""})

    def template_values(self) -> dict[str, Any]:
        """Return what the templates of forms need to pass the destination on."""
        return {"return_to": self.return_to, "delivery": self.delivery or "", "query": self.query}


def query_of(values: Mapping[str, str]) -> str:
    """Return the part of a query that names a destination, for a link to another page, which checks it."""
    named = {name: values[name] for name in ("return_to", "delivery") if values.get(name)}
    return f"?{urlencode(named)}" if named else ""


def may_return_to(url: str, *, own: str, trusted: Collection[str]) -> bool:
    """Return whether a visitor may be sent to a URL: a path of this service, or a page of a trusted origin (ASVS 3.7.2).

    Args:
        url: Where the link or the form wants the visitor to go.
        own: The origin of the service.
        trusted: Other origins.
    """
    if _PLAIN.fullmatch(url) is None:
        return False
    if url.startswith("/"):
        return not url.startswith("//")
    try:
        is_page = urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != ""
        return is_page and origin_of(url) in {own, *trusted}
    except ValueError:
        return False

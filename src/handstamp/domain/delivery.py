"""How a session's tokens travel: the one list of deliveries."""

from __future__ import annotations

from typing import Literal

import msgspec

Delivery = Literal["json", "split", "cookie"]
"""A way of delivery. It is chosen when a session starts and never changes."""


class DeliveryRule(msgspec.Struct, frozen=True):
    """Which tokens travel as a cookie instead of in the body, and which clients the delivery suits."""

    access_is_cookie: bool
    refresh_is_cookie: bool
    suits: str

    @property
    def travel(self) -> str:
        """How both tokens travel, in words."""
        if self.access_is_cookie:
            return "both tokens as cookies"
        return "the refresh token as a cookie" if self.refresh_is_cookie else "both tokens in the body"


DELIVERIES: dict[Delivery, DeliveryRule] = {
    "json": DeliveryRule(False, False, "native applications, scripts, servers; the default unless a browser asks"),  # noqa: FBT003
    "split": DeliveryRule(False, True, "single-page applications; the default for browsers"),  # noqa: FBT003
    "cookie": DeliveryRule(True, True, "server-rendered sites"),  # noqa: FBT003
}

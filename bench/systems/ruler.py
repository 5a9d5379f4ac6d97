"""The ruler: the smallest answer of a Starlette application, on uvicorn with its defaults."""

from __future__ import annotations

from ..load import Operation
from ..wire import get
from .base import DURABLE, Session, System, python


class Ruler(System):
    """A server without accounts: each profile is the same few bytes."""

    name = "ruler"
    packages = ("starlette", "uvicorn")
    ready = b"/"
    can_sign_in = False

    def command(self, port: int) -> list[str]:
        """Return the command of the ruler."""
        return python("ruler_app", str(port))

    def durability(self, port: int) -> tuple[str, str]:  # noqa: ARG002
        """Return the required values: it stores nothing."""
        return DURABLE

    def profile(self, session: Session) -> Operation:  # noqa: ARG002
        """Get the few bytes."""
        yield get(b"/")

    register = login = refresh = logout = profile

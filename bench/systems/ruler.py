"""The ruler: the least that a Starlette application can answer, on uvicorn as it comes."""

from __future__ import annotations

from ..load import Operation
from ..wire import get
from .base import DURABLE, Session, System, python


class Ruler(System):
    """Knows nobody: every profile is the same few bytes."""

    name = "ruler"
    packages = ("starlette", "uvicorn")
    ready = b"/"
    can_sign_in = False

    def command(self, port: int) -> list[str]:
        """Return how it starts."""
        return python("ruler_app", str(port))

    def durability(self, port: int) -> tuple[str, str]:  # noqa: ARG002
        """Return what is wanted: it keeps nothing."""
        return DURABLE

    def profile(self, session: Session) -> Operation:  # noqa: ARG002
        """Get the few bytes."""
        yield get(b"/")

    register = login = refresh = logout = profile

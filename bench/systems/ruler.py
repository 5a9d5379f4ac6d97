"""The ruler: the least that a Starlette application can answer, under Handstamp's uvicorn options."""

from __future__ import annotations

from ..load import Operation
from ..wire import get
from .base import Session, System, python


class Ruler(System):
    """Knows nobody: every profile is the same few bytes."""

    name = "ruler"
    packages = ("starlette", "uvicorn")
    ready = b"/"
    can_refresh = False
    can_sign_in = False

    def command(self, port: int) -> list[str]:
        """Return how it starts."""
        return python("ruler_app", str(port))

    def register(self, session: Session) -> Operation:
        """Do nothing."""
        return self.profile(session)

    login = logout = register

    def profile(self, session: Session) -> Operation:  # noqa: ARG002
        """Get the few bytes."""
        yield get(b"/")

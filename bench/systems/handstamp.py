"""Handstamp itself, as `handstamp serve` runs it, with its defaults."""

from __future__ import annotations

from handstamp.storage.sqlite.store import _connect

from ..load import Operation
from ..wire import bearer, get, post, request
from .base import JSON, PASSWORD, Session, System, tool


class Handstamp(System):
    """Both tokens travel as JSON; access tokens are signed with ES256."""

    name = "Handstamp"
    packages = ("handstamp", "uvicorn")
    ready = b"/readyz"
    doors = ((b"/login", JSON), (b"/refresh", JSON))

    def command(self, port: int) -> list[str]:
        """Return how it starts."""
        return tool("handstamp", "serve", "--port", str(port), "--database", f"sqlite:///{self.database}")

    def environment(self, port: int) -> dict[str, str]:  # noqa: ARG002
        """Return nothing: the defaults are measured."""
        return {}

    def durability(self, port: int) -> tuple[str, str]:  # noqa: ARG002
        """Ask a connection that is made as the server makes its own."""
        connection = _connect(self.database)
        try:
            mode, synchronous = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous"))
            return str(mode[0]), str(synchronous[0])
        finally:
            connection.close()

    def register(self, session: Session) -> Operation:
        """POST /register."""
        yield post(b"/register", {"email": session.email, "password": PASSWORD})

    def login(self, session: Session) -> Operation:
        """POST /login."""
        answer = yield post(b"/login", {"email": session.email, "password": PASSWORD})
        if answer.status == 200:
            session.access, session.refresh = answer.json()["accessToken"], answer.json()["refreshToken"]

    def profile(self, session: Session) -> Operation:
        """GET /profile."""
        yield get(b"/profile", bearer(session.access))

    def refresh(self, session: Session) -> Operation:
        """POST /refresh."""
        answer = yield post(b"/refresh", {"refreshToken": session.refresh})
        if answer.status == 200:
            session.access, session.refresh = answer.json()["accessToken"], answer.json()["refreshToken"]

    def logout(self, session: Session) -> Operation:
        """POST /logout, with the access token."""
        yield request(b"POST", b"/logout", bearer(session.access))

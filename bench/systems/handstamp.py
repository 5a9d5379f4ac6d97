"""Handstamp with its defaults: as `handstamp serve`, and embedded in a FastAPI application."""

from __future__ import annotations

from typing import ClassVar

from handstamp.storage.sqlite.schema import connect

from ..load import Operation
from ..service import NO_LIMITS
from ..wire import bearer, get, post, request
from .base import JSON, PASSWORD, Session, System, tool


class Handstamp(System):
    """The service. Both tokens travel as JSON; access tokens are signed with ES256."""

    name = "Handstamp"
    packages: ClassVar[tuple[str, ...]] = ("handstamp", "uvicorn")
    ready = b"/readyz"
    doors = ((b"/login", JSON), (b"/refresh", JSON))
    prefix: ClassVar[bytes] = b""
    """Where its endpoints are mounted."""

    def command(self, port: int) -> list[str]:
        """Return `handstamp serve`."""
        return tool("handstamp", "serve", "--port", str(port), "--database", f"sqlite:///{self.database}")

    def environment(self, port: int) -> dict[str, str]:  # noqa: ARG002
        """Return one setting, because all people come from one machine here. Otherwise the defaults are measured."""
        return NO_LIMITS

    def durability(self, port: int) -> tuple[str, str]:  # noqa: ARG002
        """Ask a connection that is opened as the server opens its own."""
        connection = connect(self.database)
        try:
            mode, synchronous = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous"))
            return str(mode[0]), str(synchronous[0])
        finally:
            connection.close()

    def register(self, session: Session) -> Operation:
        """POST /register."""
        yield post(self.prefix + b"/register", {"email": session.email, "password": PASSWORD})

    def login(self, session: Session) -> Operation:
        """POST /login."""
        answer = yield post(self.prefix + b"/login", {"email": session.email, "password": PASSWORD})
        if answer.status == 200:
            session.access, session.refresh = answer.json()["accessToken"], answer.json()["refreshToken"]

    def profile(self, session: Session) -> Operation:
        """GET /profile."""
        yield get(b"/profile", bearer(session.access))

    def refresh(self, session: Session) -> Operation:
        """POST /refresh."""
        answer = yield post(self.prefix + b"/refresh", {"refreshToken": session.refresh})
        if answer.status == 200:
            session.access, session.refresh = answer.json()["accessToken"], answer.json()["refreshToken"]

    def logout(self, session: Session) -> Operation:
        """POST /logout, with the access token."""
        yield request(b"POST", self.prefix + b"/logout", bearer(session.access))


class HandstampEmbedded(Handstamp):
    """Its endpoints are mounted under /auth; the profile is a route of the application, behind `Require`."""

    name = "Handstamp in FastAPI"
    packages = ("handstamp", "fastapi", "uvicorn")
    ready = b"/auth/readyz"
    doors = ((b"/auth/login", JSON), (b"/auth/refresh", JSON))
    prefix = b"/auth"

    def command(self, port: int) -> list[str]:
        """Return uvicorn."""
        return tool(
            "uvicorn", "--port", str(port), "--no-access-log", "--log-level", "warning", "bench.systems.embedded_app:application"
        )  # fmt: skip

    def environment(self, port: int) -> dict[str, str]:
        """Return the database and the issuer."""
        return {"BENCH_DATABASE": str(self.database), "BENCH_ISSUER": f"http://localhost:{port}/auth"} | NO_LIMITS

"""fastapi-users, with each of the two strategies that its documentation offers for an SQL database."""

from __future__ import annotations

from typing import ClassVar

from ..load import Operation
from ..wire import bearer, get, post, post_form, request
from .base import FORM, PASSWORD, Session, System, tool


class FastApiUsers(System):
    """The token travels as JSON and as a bearer token. There is no refresh: after it has expired, people sign in again."""

    packages = ("fastapi-users", "fastapi", "sqlalchemy", "uvicorn")
    can_refresh = False
    doors = ((b"/auth/login", FORM),)
    strategy: ClassVar[str]

    def command(self, port: int) -> list[str]:
        """Return uvicorn."""
        return tool(
            "uvicorn", "--port", str(port), "--no-access-log", "--log-level", "warning",
            "bench.systems.fastapi_users_app:application",
        )  # fmt: skip

    def environment(self, port: int) -> dict[str, str]:
        """Return the variable that names the strategy."""
        return super().environment(port) | {"BENCH_STRATEGY": self.strategy}

    def register(self, session: Session) -> Operation:
        """POST to its router."""
        yield post(b"/auth/register", {"email": session.email, "password": PASSWORD})

    def login(self, session: Session) -> Operation:
        """POST the form of its router."""
        answer = yield post_form(b"/auth/login", {"username": session.email, "password": PASSWORD})
        if answer.status == 200:
            session.access = answer.json()["access_token"]

    def profile(self, session: Session) -> Operation:
        """GET a route of ours that requires its current active user."""
        yield get(b"/profile", bearer(session.access))

    def logout(self, session: Session) -> Operation:
        """POST to its router."""
        yield request(b"POST", b"/auth/logout", bearer(session.access))


class FastApiUsersJwt(FastApiUsers):
    """A JWT, HS256."""

    name = "fastapi-users JWT"
    strategy = "jwt"


class FastApiUsersDatabase(FastApiUsers):
    """A random token, kept in the database."""

    name = "fastapi-users database"
    strategy = "database"

"""Flask with Flask-JWT-Extended."""

from __future__ import annotations

from ..load import Operation
from ..wire import bearer, get, post, request
from .base import JSON, PASSWORD, Session, System, tool


class FlaskJwt(System):
    """Both tokens travel as JSON and as bearer tokens, signed with HS256, its default."""

    name = "Flask-JWT-Extended"
    packages = ("flask-jwt-extended", "flask", "flask-sqlalchemy", "gunicorn")
    doors = ((b"/login", JSON),)

    def command(self, port: int) -> list[str]:
        """Return gunicorn with one worker; threads, because its synchronous worker closes every connection."""
        return tool(
            "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "4",
            "--no-control-socket", "bench.systems.flask_app:application",
        )  # fmt: skip

    def register(self, session: Session) -> Operation:
        """POST to a route of ours."""
        yield post(b"/register", {"email": session.email, "password": PASSWORD})

    def login(self, session: Session) -> Operation:
        """POST to a route of ours."""
        answer = yield post(b"/login", {"email": session.email, "password": PASSWORD})
        if answer.status == 200:
            session.access, session.refresh = answer.json()["access_token"], answer.json()["refresh_token"]

    def profile(self, session: Session) -> Operation:
        """GET a route that requires an access token."""
        yield get(b"/profile", bearer(session.access))

    def refresh(self, session: Session) -> Operation:
        """Send the refresh token."""
        answer = yield request(b"POST", b"/refresh", bearer(session.refresh))
        if answer.status == 200:
            session.access, session.refresh = answer.json()["access_token"], answer.json()["refresh_token"]

    def logout(self, session: Session) -> Operation:
        """Block both tokens, one after the other, as the documentation tells clients to do."""
        yield request(b"DELETE", b"/logout", bearer(session.access))
        yield request(b"DELETE", b"/logout", bearer(session.refresh))

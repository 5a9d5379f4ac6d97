"""django-allauth's headless API with its JWT strategy."""

from __future__ import annotations

import os
import subprocess

from ..load import Operation
from ..wire import bearer, get, post, request
from .base import JSON, PASSWORD, Session, System, python, tool

_API = b"/_allauth/app/v1"


class Allauth(System):
    """An access token (RS256, its default) that is verified without the session, and a refresh token that rotates."""

    name = "django-allauth JWT"
    packages = ("django-allauth", "django", "gunicorn")
    doors = ((_API + b"/auth/login", JSON), (_API + b"/tokens/refresh", JSON))

    def command(self, port: int) -> list[str]:
        """Return gunicorn with one worker of four threads, which keeps connections open."""
        return tool(
            "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "4", "--no-control-socket",
            "bench.systems.allauth_app:application",
        )  # fmt: skip

    def prepare(self) -> None:
        """Migrate, and create the signing key."""
        subprocess.run(python("allauth_app"), env=os.environ | self.environment(0), check=True)

    def register(self, session: Session) -> Operation:
        """Sign up."""
        yield post(_API + b"/auth/signup", {"email": session.email, "password": PASSWORD})

    def login(self, session: Session) -> Operation:
        """Sign in."""
        answer = yield post(_API + b"/auth/login", {"email": session.email, "password": PASSWORD})
        if answer.status == 200:
            meta = answer.json()["meta"]
            session.access, session.refresh = meta["access_token"], meta["refresh_token"]

    def profile(self, session: Session) -> Operation:
        """GET a view of ours behind its authentication class for Django REST framework."""
        yield get(b"/profile", bearer(session.access))

    def refresh(self, session: Session) -> Operation:
        """Refresh the pair."""
        answer = yield post(_API + b"/tokens/refresh", {"refresh_token": session.refresh})
        if answer.status == 200:
            data = answer.json()["data"]
            session.access, session.refresh = data["access_token"], data["refresh_token"]

    def logout(self, session: Session) -> Operation:
        """DELETE the session, with the access token. On success it answers 401, because the request is no longer signed in."""
        answer = yield request(b"DELETE", _API + b"/auth/session", bearer(session.access))
        return 200 if answer.status == 401 else 500

"""Django REST framework with djangorestframework-simplejwt."""

from __future__ import annotations

import os
import subprocess

from ..load import Operation
from ..wire import bearer, get, post
from .base import JSON, PASSWORD, Session, System, python, tool


class SimpleJwt(System):
    """Both tokens travel as JSON, signed with HS256, its default; the refresh token rotates and the old one is blacklisted."""

    name = "simplejwt"
    packages = ("djangorestframework-simplejwt", "django", "djangorestframework", "gunicorn")
    doors = ((b"/api/token/", JSON), (b"/api/token/refresh/", JSON))

    def command(self, port: int) -> list[str]:
        """Return gunicorn with one worker; threads, because its synchronous worker closes every connection."""
        return tool(
            "gunicorn",
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            "1",
            "--threads",
            "4",
            "--no-control-socket",
            "bench.systems.simplejwt_app:application",
        )

    def prepare(self) -> None:
        """Migrate."""
        environment = os.environ | self.environment(0)
        subprocess.run(python("simplejwt_app"), env=environment, check=True)

    def register(self, session: Session) -> Operation:
        """POST to a view of ours; simplejwt has none."""
        yield post(b"/register", {"username": session.email, "password": PASSWORD})

    def login(self, session: Session) -> Operation:
        """Obtain a pair."""
        answer = yield post(b"/api/token/", {"username": session.email, "password": PASSWORD})
        if answer.status == 200:
            session.access, session.refresh = answer.json()["access"], answer.json()["refresh"]

    def profile(self, session: Session) -> Operation:
        """GET a view of ours that requires `IsAuthenticated`."""
        yield get(b"/profile", bearer(session.access))

    def refresh(self, session: Session) -> Operation:
        """Refresh the pair."""
        answer = yield post(b"/api/token/refresh/", {"refresh": session.refresh})
        if answer.status == 200:
            session.access, session.refresh = answer.json()["access"], answer.json()["refresh"]

    def logout(self, session: Session) -> Operation:
        """Blacklist the refresh token."""
        yield post(b"/api/token/blacklist/", {"refresh": session.refresh})

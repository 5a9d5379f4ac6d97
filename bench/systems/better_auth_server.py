"""better-auth-server, the port of better-auth to Python, with its `jwt` plugin and with its `oauth-provider` plugin."""

from __future__ import annotations

from typing import ClassVar

from ..load import Operation
from ..wire import get, post, post_form, request
from .base import FORM, JSON, PASSWORD, Session, System, tool
from .code_flow import authorize_path, code_fields, cookie_header, keep_cookies, keep_tokens, refresh_fields, revoke_fields

_ORIGIN = b"Origin: http://localhost"


class BetterAuthServer(System):
    """The accounts and the sign-in that both setups share."""

    packages = ("better-auth-server", "fastapi", "sqlalchemy", "uvicorn")
    setup: ClassVar[str]

    def command(self, port: int) -> list[str]:
        """Return uvicorn."""
        return tool(
            "uvicorn", "--port", str(port), "--no-access-log", "--log-level", "warning",
            "bench.systems.better_auth_server_app:application",
        )  # fmt: skip

    def environment(self, port: int) -> dict[str, str]:
        """Return the variable that names the setup."""
        return super().environment(port) | {"BENCH_SETUP": self.setup}

    def register(self, session: Session) -> Operation:
        """Sign up."""
        yield post(b"/api/auth/sign-up/email", {"email": session.email, "password": PASSWORD, "name": "Ada"})


class BetterAuthServerJwt(BetterAuthServer):
    """The session is a random token in a cookie. A refresh returns a JWT (Ed25519) for other services; the cookie stays."""

    name = "better-auth-server JWT"
    setup = "jwt"
    doors = ((b"/api/auth/sign-in/email", JSON),)

    def login(self, session: Session) -> Operation:
        """Sign in."""
        session.cookies.clear()
        answer = keep_cookies(session, (yield post(b"/api/auth/sign-in/email", {"email": session.email, "password": PASSWORD})))
        if answer.status == 200:
            session.refresh = session.access = cookie_header(session).decode()

    def profile(self, session: Session) -> Operation:
        """GET a route of ours that requires a session, as its documentation shows."""
        yield get(b"/profile", session.access.encode())

    def refresh(self, session: Session) -> Operation:
        """Get a JWT."""
        yield get(b"/api/auth/token", session.refresh.encode())

    def logout(self, session: Session) -> Operation:
        """Sign out."""
        yield post(b"/api/auth/sign-out", {}, session.refresh.encode(), _ORIGIN)


class BetterAuthServerOAuth(BetterAuthServer):
    """An OpenID provider: people sign in by the code flow in three requests. Both tokens are random; the database has hashes.

    Renewing is the refresh grant, which also answers an ID token; the profile is the userinfo endpoint; signing out revokes
    the refresh token.
    """

    name = "better-auth-server OAuth"
    setup = "oauth-provider"
    doors = ((b"/api/auth/sign-in/email", JSON), (b"/api/auth/oauth2/token", FORM))

    def login(self, session: Session) -> Operation:
        """Sign in, then follow the code flow with the session's cookie."""
        session.cookies.clear()
        keep_cookies(session, (yield post(b"/api/auth/sign-in/email", {"email": session.email, "password": PASSWORD})))
        answer = yield get(authorize_path("/api/auth/oauth2/authorize"), cookie_header(session))
        keep_tokens(session, (yield post_form(b"/api/auth/oauth2/token", code_fields(answer))))

    def profile(self, session: Session) -> Operation:
        """GET the userinfo endpoint."""
        yield request(b"GET", b"/api/auth/oauth2/userinfo", b"Authorization: Bearer " + session.access.encode())

    def refresh(self, session: Session) -> Operation:
        """Use the refresh grant."""
        keep_tokens(session, (yield post_form(b"/api/auth/oauth2/token", refresh_fields(session))))

    def logout(self, session: Session) -> Operation:
        """Revoke the refresh token."""
        yield post_form(b"/api/auth/oauth2/revoke", revoke_fields(session))

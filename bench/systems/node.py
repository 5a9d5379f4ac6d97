"""better-auth and oidc-provider, the two alternatives that need Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import msgspec

from ..load import Operation
from ..wire import bearer, get, post, post_form
from .base import FORM, JSON, PASSWORD, Session, System
from .code_flow import (
    authorize_path,
    code_fields,
    cookie_header,
    keep_cookies,
    keep_tokens,
    location_path,
    refresh_fields,
    revoke_fields,
)

FOLDER = Path(__file__).parent / "node"
_COOKIE = b"Cookie: %s"


class Node(System):
    """A server in `bench/systems/node`."""

    is_node = True
    script: ClassVar[str]

    def command(self, port: int) -> list[str]:
        """Return node."""
        return [str(shutil.which("node")), str(FOLDER / self.script), str(port)]

    def environment(self, port: int) -> dict[str, str]:
        """Set the production mode."""
        return super().environment(port) | {"NODE_ENV": "production"}

    def versions(self) -> str:
        """Return what npm installed."""
        found = [f"node {subprocess.check_output(['node', '--version'], text=True).strip()}"]  # noqa: S607 - found before
        for package in self.packages:
            manifest = msgspec.json.decode((FOLDER / "node_modules" / package / "package.json").read_bytes())
            found.append(f"{package} {manifest['version']}")
        return ", ".join(found)


class BetterAuth(Node):
    """The session is a random token in a cookie, its default; its JWT plugin issues tokens for other services, with Ed25519.

    Renewing is asking for the next JWT. The cookie stays what it is: it does not rotate. Its bearer plugin is slower.
    """

    name = "better-auth"
    packages = ("better-auth", "better-sqlite3", "@node-rs/argon2")
    script = "better_auth.mjs"
    doors = ((b"/api/auth/sign-in/email", JSON),)

    def register(self, session: Session) -> Operation:
        """Sign up."""
        yield post(b"/api/auth/sign-up/email", {"email": session.email, "password": PASSWORD, "name": "Ada"})

    def login(self, session: Session) -> Operation:
        """Sign in."""
        answer = yield post(b"/api/auth/sign-in/email", {"email": session.email, "password": PASSWORD})
        if answer.status == 200:
            session.refresh = session.access = answer.headers(b"set-cookie")[0].partition(b";")[0].decode()

    def profile(self, session: Session) -> Operation:
        """GET a route of ours that gets the session, as its documentation shows."""
        yield get(b"/profile", _COOKIE % session.access.encode())

    def refresh(self, session: Session) -> Operation:
        """Get a JWT."""
        yield get(b"/api/auth/token", _COOKIE % session.refresh.encode())

    def logout(self, session: Session) -> Operation:
        """Sign out."""
        yield post(b"/api/auth/sign-out", {}, _COOKIE % session.refresh.encode(), b"Origin: http://localhost")


class OidcProvider(Node):
    """An OpenID provider: people sign in by the code flow in four requests; both tokens are random and kept in the database.

    Renewing is the refresh grant, which answers with an ID token (ES256) too; the profile is the userinfo endpoint; signing out
    is to revoke the refresh token, which ends its grant.
    """

    name = "oidc-provider"
    packages = ("oidc-provider", "better-sqlite3", "@node-rs/argon2")
    script = "oidc_provider.mjs"
    doors = ((b"/token", FORM),)

    def register(self, session: Session) -> Operation:
        """POST to a route of ours."""
        yield post(b"/register", {"email": session.email, "password": PASSWORD})

    def login(self, session: Session) -> Operation:
        """Follow the code flow, as a browser without cookies whose login page is already loaded."""
        session.cookies.clear()
        answer = keep_cookies(session, (yield get(authorize_path("/auth"))))
        form = {"email": session.email, "password": PASSWORD}
        answer = keep_cookies(session, (yield post(location_path(answer), form, cookie_header(session))))
        answer = keep_cookies(session, (yield get(location_path(answer), cookie_header(session))))
        keep_tokens(session, (yield post_form(b"/token", code_fields(answer))))

    def profile(self, session: Session) -> Operation:
        """GET the userinfo endpoint."""
        yield get(b"/me", bearer(session.access))

    def refresh(self, session: Session) -> Operation:
        """Use the refresh grant."""
        keep_tokens(session, (yield post_form(b"/token", refresh_fields(session))))

    def logout(self, session: Session) -> Operation:
        """Revoke the refresh token."""
        yield post_form(b"/token/revocation", revoke_fields(session))

"""better-auth and oidc-provider, the two alternatives that want Node."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from ..load import Operation
from ..wire import Answer, bearer, get, post, post_form
from .base import FORM, JSON, PASSWORD, Session, System

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
        """Say that this is production."""
        return super().environment(port) | {"NODE_ENV": "production"}

    def versions(self) -> str:
        """Return what npm installed."""
        found = [f"node {subprocess.check_output(['node', '--version'], text=True).strip()}"]  # noqa: S607 - found before
        for package in self.packages:
            manifest = msgspec.json.decode((FOLDER / "node_modules" / package / "package.json").read_bytes())
            found.append(f"{package} {manifest['version']}")
        return ", ".join(found)


class BetterAuth(Node):
    """The session is a random token in a cookie, its default; its JWT plugin makes tokens for other services, with Ed25519.

    Renewing is asking for the next JWT. The cookie stays what it is: it does not rotate. Its bearer plugin is slower.
    """

    name = "better-auth"
    packages = ("better-auth", "better-sqlite3", "@node-rs/argon2")
    script = "better_auth.mjs"
    doors = ((b"/api/auth/sign-in/email", JSON),)

    def register(self, session: Session) -> Operation:
        """Sign up."""
        yield post(b"/api/auth/sign-up/email", {"email": session.email, "password": PASSWORD, "name": "Somebody"})

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
        """Follow the code flow, as a browser that has no cookies yet, and a login page that is already there."""
        session.cookies.clear()
        answer = _keeping(session, (yield get(_AUTHORIZE)))
        form = {"email": session.email, "password": PASSWORD}
        answer = _keeping(session, (yield post(_target(answer), form, *_cookies(session))))
        answer = _keeping(session, (yield get(_target(answer), *_cookies(session))))
        code = parse_qs(urlsplit(_location(answer)).query)["code"][0]
        self._keep(session, (yield post_form(b"/token", _TOKEN | {"grant_type": "authorization_code", "code": code})))

    def profile(self, session: Session) -> Operation:
        """GET the userinfo endpoint."""
        yield get(b"/me", bearer(session.access))

    def refresh(self, session: Session) -> Operation:
        """Use the refresh grant."""
        fields = {"client_id": "bench", "grant_type": "refresh_token", "refresh_token": session.refresh}
        self._keep(session, (yield post_form(b"/token", fields)))

    def logout(self, session: Session) -> Operation:
        """Revoke the refresh token."""
        yield post_form(b"/token/revocation", {"client_id": "bench", "token": session.refresh})

    @staticmethod
    def _keep(session: Session, answer: Answer) -> None:
        if answer.status == 200:
            session.access, session.refresh = answer.json()["access_token"], answer.json()["refresh_token"]


_VERIFIER = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"
_REDIRECT = "https://app.example.com/callback"
_AUTHORIZE = (
    b"/auth?"
    + urlencode(
        {
            "client_id": "bench",
            "response_type": "code",
            "scope": "openid email offline_access",
            "redirect_uri": _REDIRECT,
            "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(_VERIFIER.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
    ).encode()
)
_TOKEN = {"client_id": "bench", "redirect_uri": _REDIRECT, "code_verifier": _VERIFIER}


def _keeping(session: Session, answer: Answer) -> Answer:
    for header in answer.headers(b"set-cookie"):
        name, _, value = header.partition(b";")[0].decode().partition("=")
        session.cookies[name] = value
    return answer


def _cookies(session: Session) -> list[bytes]:
    return [_COOKIE % "; ".join(f"{name}={value}" for name, value in session.cookies.items() if value).encode()]


def _location(answer: Answer) -> str:
    return answer.headers(b"location")[0].decode()


def _target(answer: Answer) -> bytes:
    return urlsplit(_location(answer)).path.encode()

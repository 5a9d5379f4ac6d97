"""The authorization code flow (RFC 6749 §4.1, with PKCE, RFC 7636) as a browser follows it, for OpenID providers."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from ..wire import Answer
from .base import Session

CLIENT_ID = "bench"
REDIRECT_URI = "https://app.example.com/callback"
_VERIFIER = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"
_CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(_VERIFIER.encode()).digest()).rstrip(b"=").decode()


def authorize_path(endpoint: str) -> bytes:
    """Return the path and query of an authorization request."""
    parameters = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "scope": "openid email offline_access",
        "redirect_uri": REDIRECT_URI,
        "code_challenge": _CHALLENGE,
        "code_challenge_method": "S256",
        "state": "bench",
    }
    return f"{endpoint}?{urlencode(parameters)}".encode()


def code_fields(answer: Answer) -> dict[str, str]:
    """Return the form of the token request for the code in an answer's redirect."""
    return {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "code_verifier": _VERIFIER,
        "code": parse_qs(urlsplit(location(answer)).query)["code"][0],
    }


def refresh_fields(session: Session) -> dict[str, str]:
    """Return the form of the refresh grant (RFC 6749 §6)."""
    return {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": session.refresh}


def revoke_fields(session: Session) -> dict[str, str]:
    """Return the form that revokes the refresh token (RFC 7009 §2.1)."""
    return {"client_id": CLIENT_ID, "token": session.refresh, "token_type_hint": "refresh_token"}


def keep_tokens(session: Session, answer: Answer) -> None:
    """Store the tokens of a token answer in the session."""
    if answer.status == 200:
        tokens: dict[str, Any] = answer.json()
        session.access, session.refresh = tokens["access_token"], tokens["refresh_token"]


def keep_cookies(session: Session, answer: Answer) -> Answer:
    """Store the cookies of an answer in the session, and return the answer."""
    for header in answer.headers(b"set-cookie"):
        name, _, value = header.partition(b";")[0].decode().partition("=")
        session.cookies[name] = value
    return answer


def cookie_header(session: Session) -> bytes:
    """Return the header that sends the session's cookies."""
    return b"Cookie: " + "; ".join(f"{name}={value}" for name, value in session.cookies.items() if value).encode()


def location(answer: Answer) -> str:
    """Return where an answer redirects to."""
    return answer.headers(b"location")[0].decode()


def location_path(answer: Answer) -> bytes:
    """Return the path of where an answer redirects to."""
    return urlsplit(location(answer)).path.encode()

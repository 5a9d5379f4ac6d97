"""Asking the service over HTTP: the only file of the verifier that does.

With `urllib`, so that verifying tokens needs no HTTP library. It is strict: no redirect is followed (keys come from where
they were configured to come from, and a credential goes nowhere else), answers have a size and a time, and whatever goes wrong
is `Unavailable`.
"""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import IO, NamedTuple
from urllib.parse import quote, urlencode

from ..clock import monotonic_ms
from ..errors import ConfigurationError, Unavailable

_CHUNK = 64 * 1024


class Fetched(NamedTuple):
    """An answer with status 200."""

    body: bytes
    headers: Mapping[str, str]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917 - the signature is urllib's
        self,
        req: urllib.request.Request,  # noqa: ARG002 - the signature is urllib's
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: http.client.HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def basic(credential: str) -> str:
    """Return the `Authorization` of an `id:secret` credential (RFC 6749 §2.3.1). Raises `ConfigurationError`."""
    name, colon, secret = credential.partition(":")
    if not (name and colon and secret):
        raise ConfigurationError("credential must be 'ID:SECRET', as 'handstamp clients create NAME' shows it.")
    return "Basic " + base64.b64encode(f"{quote(name, safe='')}:{quote(secret, safe='')}".encode()).decode("ascii")


def fetch(
    url: str, *, timeout_s: float, limit: int, authorization: str | None = None, form: Mapping[str, str] | None = None
) -> Fetched:
    """GET a URL, or POST a form to it; return the answer if its status is 200.

    Raises `Unavailable` for any other answer, for one of more than `limit` bytes, and for none within `timeout_s` seconds.
    """
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "handstamp-verifier"}
    if authorization is not None:
        headers["authorization"] = authorization
    data = None if form is None else urlencode(form).encode("ascii")
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - the scheme was checked at start
    deadline_ms = monotonic_ms() + int(timeout_s * 1000)
    try:
        with _opener.open(request, timeout=timeout_s) as response:
            if response.status != 200:
                raise Unavailable(f"{url} answered {response.status}")
            return Fetched(_read(response, url, limit, deadline_ms), response.headers)
    except urllib.error.HTTPError as refusal:
        with refusal:
            hint = ": the credential is not known there" if refusal.code == 401 else ""
            raise Unavailable(f"{url} answered {refusal.code}{hint}") from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise Unavailable(f"{url} did not answer: {getattr(problem, 'reason', None) or problem!r}") from None


def _read(response: http.client.HTTPResponse, url: str, limit: int, deadline_ms: int) -> bytes:
    body = b""
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise Unavailable(f"{url} answered more than {limit} bytes")
        if monotonic_ms() > deadline_ms:
            raise Unavailable(f"{url} did not answer in time")
    return body

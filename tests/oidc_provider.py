"""A certified OpenID provider (oidc-provider of npm) in a process of its own, and a browser that signs in there."""

from __future__ import annotations

import json
import re
import select
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

from tests.npm import PATIENCE_S, install_scripts

SOURCE = Path(__file__).parent / "relying_party/node"
_OPTIONS: dict[str, Any] = {"timeout": PATIENCE_S, "trust_env": False, "verify": False}  # loading certificates is slow
_ACTION = re.compile(r'action="([^"]+)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class OidcProvider:
    """The provider, for the length of a `with` block. Everybody who types a name is signed in as NAME@example.com."""

    url: str

    def __init__(self, clients: Sequence[Mapping[str, Any]]) -> None:
        """Prepare it; skips the test where Node is missing.

        Args:
            clients: Its clients, with the names of OpenID Connect Dynamic Client Registration 1.0.
        """
        self._folder = install_scripts(SOURCE)
        self._clients = list(clients)

    def __enter__(self) -> Self:
        """Start it."""
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            ["node", "provider.mjs"],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._clients) + "\n")
        self._process.stdin.flush()
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        self.url = self._process.stdout.readline().strip() if readable else ""
        self._errors.seek(0)
        assert self.url.startswith("http"), self._errors.read()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def spoil(self, **how: Any) -> None:
        """Spoil all answers from now on, as `node/provider.mjs` describes; without arguments, none."""
        httpx.post(f"{self.url}/spoil", json=how, **_OPTIONS).raise_for_status()


class Visitor:
    """A browser at the provider, for the length of a `with` block."""

    def __enter__(self) -> Self:
        """Start without cookies."""
        self._client = httpx.Client(**_OPTIONS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close its connections."""
        self._client.close()

    def sign_in(self, url: str, *, redirect_uri: str, login: str = "ada") -> dict[str, str]:
        """Follow an authorization URL, sign in if asked, and return the fields of the answer."""
        for _ in range(12):
            answer = self._client.get(url)
            if answer.status_code == 200:
                (action,) = _ACTION.findall(answer.text)[:1]
                form = dict(_HIDDEN.findall(answer.text)) | {"login": login, "password": "x"}
                answer = self._client.post(urljoin(url, action), data=form)
            assert answer.is_redirect, answer.text
            url = urljoin(url, answer.headers["location"])
            if url.startswith(redirect_uri):
                return dict(parse_qsl(urlsplit(url).query))
        raise AssertionError("the provider redirects without end")

    def sign_out(self, provider: str) -> None:
        """End the session at the provider."""
        page = self._client.get(f"{provider}/session/end")
        (action,) = _ACTION.findall(page.text)[:1]
        form = dict(_HIDDEN.findall(page.text)) | {"logout": "yes"}
        self._client.post(urljoin(provider, action), data=form)

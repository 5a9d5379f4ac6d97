"""What the verifier's tests share: what it says of a token in one word, and waiting for what must come soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from handstamp import HandstampError, Verifier
from handstamp.clock import now_ms
from handstamp.verify.verifier import Check
from tests.commands import run_command
from tests.serving import Server

SOON_S = 60.0
"""Generous: what is due within a second or five must not fail on a machine that is busy."""
CREDENTIAL = "tests:a secret that nobody else knows"


class ShiftedClock:
    """The machine's clock, but set forward or back by `shift_s`, as somebody or NTP might set it."""

    def __init__(self) -> None:
        """Begin right."""
        self.shift_s = 0.0

    def __call__(self) -> int:
        """Return the time."""
        return now_ms() + int(self.shift_s * 1000)


def said(verifier: Verifier, token: str, check: Check | None = None) -> str:
    """Return "ok", or the code of the error with which a token is refused; errors of other families pass through."""
    try:
        verifier.verify(token, check=check)
    except HandstampError as refused:
        return refused.code
    return "ok"


def eventually(condition: Callable[[], bool], *, within_s: float = SOON_S) -> bool:
    """Say whether a condition comes true soon."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def says_until(verifier: Verifier, token: str, last: str, check: Check | None = None) -> set[str]:
    """Ask until `last` is said, and return what was said before it; fail if it is not said soon."""
    before: set[str] = set()
    deadline = time.monotonic() + SOON_S
    while (word := said(verifier, token, check)) != last:
        before.add(word)
        assert time.monotonic() < deadline, f"{last} was not said, but {before}; {verifier.status()}"
        time.sleep(0.02)
    return before


@contextmanager
def verifier_of(url: str, **options: Any) -> Iterator[Verifier]:
    """Make a verifier of an issuer that is its own audience, ready unless told otherwise, and close it at the end."""
    wait = options.pop("wait", True)
    defaults: dict[str, Any] = {"audience": url, "credential": CREDENTIAL, "max_staleness_s": 3, "timeout_s": 1}
    with Verifier(url, **defaults | options) as verifier:
        if wait:
            assert verifier.wait_until_ready(SOON_S), verifier.status()
        yield verifier


def credential_for(server: Server, name: str) -> str:
    """Make a service credential with the command that operators use."""
    made = run_command(server.folder, "credentials", "create", name, "--json")
    assert made.returncode == 0, made.stderr
    credential: str = json.loads(made.stdout)["credential"]
    return credential

"""Helpers for tests of the verifier: the outcome for a token in one word, and waiting for a condition."""

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
"""Much longer than needed, so that tests pass on a busy machine."""
CREDENTIAL = "tests:a secret that nobody else knows"


class ShiftedClock:
    """The machine's clock, moved by `shift_s` seconds, as an administrator or NTP might move it."""

    def __init__(self) -> None:
        """Start with the correct time."""
        self.shift_s = 0.0

    def __call__(self) -> int:
        """Return the time."""
        return now_ms() + int(self.shift_s * 1000)


def try_token(verifier: Verifier, token: str, check: Check | None = None) -> str:
    """Verify a token; return "ok" or the code of the `HandstampError`. Other exceptions propagate."""
    try:
        verifier.verify(token, check=check)
    except HandstampError as refused:
        return refused.code
    return "ok"


def eventually(condition: Callable[[], bool], *, within_s: float = SOON_S) -> bool:
    """Return True if the condition becomes true within the time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def wait_for_outcome(verifier: Verifier, token: str, last: str, check: Check | None = None) -> set[str]:
    """Verify a token until the outcome is `last`; return the outcomes before it. Fail if it takes too long."""
    before: set[str] = set()
    deadline = time.monotonic() + SOON_S
    while (word := try_token(verifier, token, check)) != last:
        before.add(word)
        assert time.monotonic() < deadline, f"the outcome was never {last}, but {before}; {verifier.status()}"
        time.sleep(0.02)
    return before


@contextmanager
def verifier_of(url: str, **options: Any) -> Iterator[Verifier]:
    """Open a verifier whose audience is the issuer. Wait until it is ready unless `wait` is False."""
    wait = options.pop("wait", True)
    defaults: dict[str, Any] = {"audience": url, "credential": CREDENTIAL, "max_staleness_s": 3, "timeout_s": 1}
    with Verifier(url, **defaults | options) as verifier:
        if wait:
            assert verifier.wait_until_ready(SOON_S), verifier.status()
        yield verifier


def credential_for(server: Server, name: str) -> str:
    """Create a service credential with the command line; return it."""
    made = run_command(server.folder, "credentials", "create", name, "--json")
    assert made.returncode == 0, made.stderr
    credential: str = json.loads(made.stdout)["credential"]
    return credential

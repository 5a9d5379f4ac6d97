"""Fixtures for pytest.

pytest imports this file in every run in which Handstamp is installed. So it imports pytest alone; the rest is imported by the
first fixture that is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from handstamp import testing

if TYPE_CHECKING:
    from handstamp import Verifier
    from handstamp.embedded import Handstamp


@pytest.fixture
def handstamp_clock() -> testing.VirtualClock:
    """Return the clock of the other fixtures; `handstamp_clock.advance(seconds=60)` moves it."""
    return testing.VirtualClock()


@pytest.fixture
def handstamp_verifier() -> Verifier | None:
    """Override this fixture to return the verifier of your application. By default `handstamp_issuer` creates one."""
    return None


@pytest.fixture
def handstamp_issuer(handstamp_verifier: Verifier | None, handstamp_clock: testing.VirtualClock) -> Iterator[testing.LocalIssuer]:
    """Return an issuer whose tokens `handstamp_verifier` accepts during the test."""
    with testing.LocalIssuer(handstamp_verifier, clock=handstamp_clock) as issuer:
        yield issuer


@pytest.fixture
def handstamp_service(tmp_path: Path, handstamp_clock: testing.VirtualClock) -> Handstamp:
    """Return the embedded service, with a database in `tmp_path` and the issuer `http://localhost/auth`.

    It is not started: your application does that.
    """
    from handstamp.embedded import Handstamp  # noqa: PLC0415 - needs handstamp[server], which other fixtures do not

    return Handstamp(database=f"sqlite:///{tmp_path}/handstamp.db", issuer="http://localhost/auth", clock=handstamp_clock)

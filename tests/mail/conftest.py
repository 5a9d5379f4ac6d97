"""Fixtures for mail: a mail server, and a service that sends to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from handstamp.assemble.deployment import Deployment
from tests.builders import Clock
from tests.deployment import deployed
from tests.mail.helpers import settings_for
from tests.mail_server import MailServer, mail_server


@pytest.fixture
def server() -> Iterator[MailServer]:
    """Run a mail server."""
    with mail_server() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the service."""
    return Clock()


@pytest.fixture
async def service(tmp_path: Path, clock: Clock, server: MailServer) -> AsyncIterator[Deployment]:
    """Run a service that sends to the server when a test says so."""
    async with deployed(tmp_path, clock, **settings_for(server)) as running:
        yield running

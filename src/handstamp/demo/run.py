"""Set up a demonstration: a service with one account, in a temporary folder."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..assemble.application import make_application
from ..assemble.deployment import Deployment
from ..config.loading import without_environment
from ..config.settings import Settings
from ..service.parts.caller import Caller
from .park import Park

EMAIL = "ada@example.com"
PASSWORD = secrets.token_urlsafe(12)
"""Another one in each process. The command prints it."""
_ACCESS_LIFETIME_S = 30


@dataclass(frozen=True)
class Demonstration:
    """A service with the park in front of it, ready to be served."""

    settings: Settings
    application: Park


@contextmanager
def demonstration(address: tuple[str, int]) -> Iterator[Demonstration]:
    """Create a demonstration, and delete its folder on exit. Settings of the environment are ignored.

    Args:
        address: The host and port on which the caller serves the application.
    """
    with tempfile.TemporaryDirectory(prefix="handstamp-demo-") as folder:
        deployment = Deployment(
            without_environment(
                database=f"sqlite:///{Path(folder) / 'handstamp.db'}",
                issuer=f"http://localhost:{address[1]}",
                access_lifetime=_ACCESS_LIFETIME_S,
            )
        )
        asyncio.run(_create_account(deployment))
        yield Demonstration(deployment.settings, _open_park(deployment, address))


def _open_park(deployment: Deployment, address: tuple[str, int]) -> Park:
    return Park(
        make_application(deployment),
        tokens=deployment.tokens,
        store=deployment.store,
        clock=deployment.clock,
        issuer=deployment.issuer,
        address=address,
        person=(EMAIL, PASSWORD),
    )


async def _create_account(deployment: Deployment) -> None:
    async with deployment.open():
        await deployment.create_account(EMAIL, PASSWORD, Caller(now_ms=deployment.clock()))

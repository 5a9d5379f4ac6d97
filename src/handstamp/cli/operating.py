"""Open the deployment that is configured here, for commands that work beside the running service."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import pwd
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from ..assemble.deployment import Deployment
from ..config.loading import load
from ..config.logs import configure_logging
from ..errors import ConfigurationError
from ..service.parts.caller import Caller
from .common import print_error

_T = TypeVar("_T")
LOCAL_ISSUER = "http://localhost:8000"


def operate(work: Callable[[Deployment, Caller], Awaitable[_T]], database: str | None, *, may_create: bool = False) -> _T:
    """Open the configured deployment and return what `work` returns.

    Args:
        work: What to do with the deployment, as the operator at the command line.
        database: The URL of `--database`; None for the configured one.
        may_create: Whether the command creates a database that does not exist yet.

    Raises:
        ConfigurationError: If there is no such database, or the settings are wrong.
    """
    configure_logging(logging.WARNING)
    settings = load(database=database)
    configure_logging(logging.WARNING, settings.log_format)
    if not settings.issuer:
        settings = dataclasses.replace(settings, issuer=LOCAL_ISSUER)
    if settings.database_path is not None and not settings.database_path.exists():
        if not may_create:
            raise ConfigurationError(
                f"There is no database at {settings.database} yet. Start the service once with 'handstamp serve', "
                "or name another database with --database sqlite:///FILE."
            )
        print_error(f"There is no database yet: creating {settings.describe_database()} and the secret beside it.")

    async def open_and_work() -> _T:
        deployment = Deployment(settings)
        async with deployment.open():
            return await work(
                deployment, Caller(now_ms=deployment.clock.estimate(), user_agent=_describe_operator(), actor="operator")
            )

    return asyncio.run(open_and_work())


def _describe_operator() -> str:
    """Return the user of this machine who has typed the command, for the audit trail."""
    with suppress(KeyError):  # a container may run as a number without a name
        name, before = pwd.getpwuid(os.getuid()).pw_name, os.environ.get("SUDO_USER", "")
        return f"handstamp command line, user {name}" + (f" (sudo by {before})" if before.isidentifier() else "")
    return f"handstamp command line, user {os.getuid()}"

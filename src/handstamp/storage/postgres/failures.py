"""Translates what the network and the server can cause."""

from __future__ import annotations

import asyncpg

from ...errors import ConfigurationError, Unavailable

DATA = (asyncpg.DataError, asyncpg.exceptions._base.DataError)  # noqa: SLF001 - errors of the server and of the driver
"""A value that the database cannot hold (class 22). Every value was checked before, so this is a fault of our code."""
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class unavailable_if_it_fails:  # noqa: N801 - used as a statement
    """Turns a failure into `Unavailable`.

    An error about a value or a constraint stays as it is: trying again later cannot help.
    """

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(problem, FAILURES) and not isinstance(problem, (*DATA, asyncpg.IntegrityConstraintViolationError)):
            raise Unavailable(f"PostgreSQL: {type(problem).__name__}: {problem}") from None


class refuse_to_start_if_it_fails:  # noqa: N801 - used as a statement
    """Turns a failure, and a URL that is not valid, into `ConfigurationError`."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(problem, (*FAILURES, Unavailable, ValueError)):
            what = problem.why if isinstance(problem, Unavailable) else f"{type(problem).__name__}: {problem}"
            raise ConfigurationError(f"The PostgreSQL database cannot be opened: {what}") from None

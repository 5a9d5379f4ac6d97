"""Translates what the network and the server can cause."""

from __future__ import annotations

import asyncpg

from ...errors import ConfigurationError, Unavailable

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class unavailable_if_it_fails:  # noqa: N801 - used as a statement
    """Turns a failure into `Unavailable`. A violated constraint is a fault of our code and stays as it is."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(problem, FAILURES) and not isinstance(problem, asyncpg.IntegrityConstraintViolationError):
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

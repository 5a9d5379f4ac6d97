"""Asking the application what a session's tokens should say.

The application's function may be slow, fail or answer nonsense. It is asked before the transaction, with nothing held, and if it
gives no grant nothing is issued: the old refresh token stays good.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from ..domain.account import Account
from ..domain.grant import NOTHING, Grant, grant_of
from ..domain.session import Session
from ..errors import InvalidFields, Unavailable

Hook = Callable[[str], "Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None"]
"""Takes a subject; returns `{"scope": …, "roles": …, "claims": …}`, of which each may be left away, or None for nothing."""
PATIENCE_S = 5.0
_THREADS = 8


class Granting:
    """Puts together what a session's next tokens say: its account's roles, what it was started with, and the hook's."""

    def __init__(self, hook: Hook | None = None) -> None:
        """Take the application's function, which may be a coroutine function; a plain one runs on a thread."""
        self._hook = hook
        self._threads = ThreadPoolExecutor(_THREADS, "handstamp-claims")  # of its own: one that hangs holds up nobody else's
        self._is_async = inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004

    async def asked(self, subject: str) -> Grant:
        """Return what the application grants a subject now. Raises `Unavailable` where it fails, hangs or answers nonsense."""
        if self._hook is None:
            return NOTHING
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer: Any = (
                    self._hook(subject)
                    if self._is_async
                    else await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, self._hook, subject)
                )
                if inspect.isawaitable(answer):
                    answer = await answer
            return NOTHING if answer is None else grant_of(**answer)
        except TimeoutError:
            raise Unavailable(f"the claims hook took longer than {PATIENCE_S:g} s") from None
        except InvalidFields as wrong:
            raise Unavailable(f"the claims hook granted what cannot be: {wrong}") from None
        except Exception as problem:
            raise Unavailable(f"the claims hook failed: {type(problem).__name__}: {problem}") from problem


def granted_to(session: Session, account: Account | None, asked: Grant) -> Grant:
    """Return all that a session's tokens say; what is asked now counts before what was said at the start."""
    roles = Grant(roles=account.roles) if account is not None else NOTHING
    return roles + session.granted + asked

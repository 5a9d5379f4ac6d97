"""Asking the application what a session's tokens should say.

The application's function may be slow, fail or answer nonsense. It is asked before the transaction, with nothing held, and if it
gives no grant nothing is issued: the old refresh token stays good.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from typing import Any

from ...domain.account import Account
from ...domain.grant import NOTHING, Grant, parse_grant
from ...domain.session import Session
from ...errors import ConfigurationError, InvalidFields, Unavailable

Hook = Callable[[str], "Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None"]
"""Takes a subject; returns `{"scope": …, "roles": …, "claims": …}`, of which each may be left away, or None for nothing."""
PATIENCE_S = 5.0
_THREADS = 8
_is_asking: ContextVar[bool] = ContextVar("handstamp_is_asking", default=False)


class Granting:
    """Puts together what a session's next tokens say: its account's roles, what it was started with, and the hook's."""

    def __init__(self, hook: Hook | None = None) -> None:
        """Take the application's function; a coroutine function runs on the event loop, a plain one on a thread.

        Raises `ConfigurationError` for what cannot be called.
        """
        if hook is not None and not callable(hook):
            raise ConfigurationError("claims must be a function that takes a subject.")
        self._hook = hook
        self._is_async = inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004
        self._threads = _Threads()

    async def ask(self, subject: str) -> Grant:
        """Return what the application grants a subject now. Raises `Unavailable` where it fails, hangs or answers nonsense."""
        if self._hook is None:
            return NOTHING
        if _is_asking.get():
            raise Unavailable("the claims hook has asked for tokens, for which it would be asked again")
        # In a task of its own: one that will not be cancelled keeps nobody waiting.
        asking = asyncio.create_task(self._ask(self._hook, subject))
        try:
            done, _ = await asyncio.wait({asking}, timeout=PATIENCE_S)
        finally:
            asking.cancel()
        if not done:
            raise Unavailable(f"the claims hook took longer than {PATIENCE_S:g} s")
        if asking.cancelled():  # by itself: our own cancelling comes out of `wait`
            raise Unavailable("the claims hook was cancelled")
        answer = asking.result()
        try:
            return NOTHING if answer is None else parse_grant(**answer)
        except InvalidFields as wrong:
            raise Unavailable(f"the claims hook granted what cannot be: {wrong}") from None
        except TypeError:
            raise Unavailable(f"the claims hook returned a {type(answer).__name__}, not scope, roles and claims") from None
        except Exception as problem:  # a row that fails as it is read, say
            raise Unavailable(f"what the claims hook returned cannot be read: {_where(problem)}") from problem

    async def _ask(self, hook: Hook, subject: str) -> Any:
        _is_asking.set(True)
        try:
            answer: Any = hook(subject) if self._is_async else await self._threads.run(hook, subject)
            return await answer if inspect.isawaitable(answer) else answer
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as problem:  # exit() in a hook must not stop the server
            raise Unavailable(f"the claims hook failed: {_where(problem)}") from problem


class _Failed(Exception):
    """Stands for whatever a plain hook raised."""


def _where(problem: BaseException) -> str:
    """Say what was raised and where, but not its text: a database's errors may hold its password, and this is for the log."""
    if isinstance(problem, _Failed):
        return str(problem)
    last = traceback.extract_tb(problem.__traceback__)[-1:]
    return f"{type(problem).__name__} in {', '.join(f'{frame.filename}:{frame.lineno}' for frame in last)}"


class _Threads:
    """Some threads for hooks alone: those that hang hold up nobody else's work, and no process that wants to end."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._started = 0

    async def run(self, hook: Hook, subject: str) -> Any:
        """Return what the hook returns."""
        context, future = copy_context(), Future[Any]()
        self._calls.put((future, lambda: context.run(hook, subject)))
        if self._started < _THREADS:
            self._started += 1
            threading.Thread(target=self._work, name="handstamp-claims", daemon=True).start()
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():  # else nobody waits for it any more
                try:
                    future.set_result(call())
                except BaseException as problem:  # noqa: BLE001 - whatever it is there, here it is an ordinary error
                    future.set_exception(_Failed(_where(problem)))


def combine_grants(session: Session, account: Account | None, asked: Grant) -> Grant:
    """Return all that a session's tokens say; what is asked now counts before what was said at the start."""
    roles = Grant(roles=account.roles) if account is not None else NOTHING
    return roles + session.granted + asked

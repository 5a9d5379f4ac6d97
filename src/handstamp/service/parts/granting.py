"""Ask the application for the scopes, roles and claims of a session's tokens.

The application's hook may be slow, fail or return an invalid value. It is called before the transaction, without holding any
lock. If it fails, no token is issued, and the old refresh token stays valid.
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
from ...domain.assurance import is_as_strong
from ...domain.factor import OPTIONAL, FactorPolicy
from ...domain.grant import NOTHING, Grant, parse_grant
from ...domain.impersonation import narrow
from ...domain.session import Session
from ...errors import ConfigurationError, InvalidFields, Unavailable

Hook = Callable[[str], "Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None"]
"""Takes a subject. Returns None, or a mapping with any of the keys "scope", "roles" and "claims"."""
PATIENCE_S = 5.0
"""How long the hook may take."""
_THREADS = 8
_is_asking: ContextVar[bool] = ContextVar("handstamp_is_asking", default=False)


class Granting:
    """Decides what the tokens of a session grant. Calls the application's hook with a time limit."""

    def __init__(self, hook: Hook | None = None, *, policy: FactorPolicy = OPTIONAL) -> None:
        """Create it.

        Args:
            hook: The application's. If it is a coroutine function it runs on the event loop, a plain function on a thread.
            policy: Which roles need a second factor.

        Raises:
            ConfigurationError: If `hook` cannot be called.
        """
        if hook is not None and not callable(hook):
            raise ConfigurationError("claims must be a function with one parameter, the subject.")
        self._hook = hook
        self._guarded = policy.roles
        self._is_async = inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004
        self._threads = _Threads()

    def combine(self, session: Session, account: Account | None, from_hook: Grant) -> Grant:
        """Return the grant for a session's tokens. Values from the hook override values given at session start.

        A role of the account that needs a second factor is left out while the session was not proved with one: the account may
        have got the role after the session began. What an operator gets who acts in the place of the person is narrowed.
        """
        roles = account.roles if account is not None else ()
        if roles and self._guarded and not is_as_strong(session.acr, "mfa"):
            roles = tuple(role for role in roles if role not in self._guarded)
        grant = (Grant(roles=roles) if roles else NOTHING) + session.granted
        if from_hook is not NOTHING:
            grant += from_hook
        return grant if session.impersonator is None else narrow(grant, session.impersonator)

    async def ask(self, subject: str) -> Grant:
        """Return what the application grants a subject now.

        Raises:
            Unavailable: If the hook fails, takes longer than `PATIENCE_S` or returns an invalid value.
        """
        if self._hook is None:
            return NOTHING
        if _is_asking.get():
            raise Unavailable("the claims hook asked for tokens, which would call the hook again")
        # In its own task: a hook that ignores its cancellation must not delay the answer.
        asking = asyncio.create_task(self._ask(self._hook, subject))
        try:
            done, _ = await asyncio.wait({asking}, timeout=PATIENCE_S)
        finally:
            asking.cancel()
        if not done:
            raise Unavailable(f"the claims hook took longer than {PATIENCE_S:g} s")
        if asking.cancelled():  # by itself: if our caller is cancelled, `wait` raises
            raise Unavailable("the claims hook was cancelled")
        answer = asking.result()
        try:
            return NOTHING if answer is None else parse_grant(**answer)
        except InvalidFields as wrong:
            raise Unavailable(f"the claims hook returned an invalid grant: {wrong}") from None
        except TypeError:
            raise Unavailable(
                f"the claims hook returned a {type(answer).__name__}, not a mapping of scope, roles and claims"
            ) from None
        except Exception as problem:  # a lazy mapping may fail when it is read
            raise Unavailable(f"the result of the claims hook cannot be read: {_describe_error(problem)}") from problem

    async def _ask(self, hook: Hook, subject: str) -> Any:
        _is_asking.set(True)
        try:
            answer: Any = hook(subject) if self._is_async else await self._threads.run(hook, subject)
            return await answer if inspect.isawaitable(answer) else answer
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as problem:  # a hook that calls exit() must not stop the server
            raise Unavailable(f"the claims hook failed: {_describe_error(problem)}") from problem


class _Failed(Exception):
    """Replaces an exception of a plain hook; its text is the description."""


def _describe_error(problem: BaseException) -> str:
    """Return type and place of an exception for the log, without its text: a database's error may contain a password."""
    if isinstance(problem, _Failed):
        return str(problem)
    last = traceback.extract_tb(problem.__traceback__)[-1:]
    return f"{type(problem).__name__} in {', '.join(f'{frame.filename}:{frame.lineno}' for frame in last)}"


class _Threads:
    """Threads for hooks only. A hook that hangs delays no other work, and as a daemon thread not the end of the process."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._started = 0

    async def run(self, hook: Hook, subject: str) -> Any:
        """Call the hook on a thread and return its result."""
        context, future = copy_context(), Future[Any]()
        self._calls.put((future, lambda: context.run(hook, subject)))
        if self._started < _THREADS:
            self._started += 1
            threading.Thread(target=self._work, name="handstamp-claims", daemon=True).start()
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():  # False if the caller has stopped waiting
                try:
                    future.set_result(call())
                except BaseException as problem:  # noqa: BLE001 - SystemExit must not end the thread
                    future.set_exception(_Failed(_describe_error(problem)))

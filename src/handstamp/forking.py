"""Put right in a forked child process what it cannot use as it was inherited. The only user of `os.register_at_fork`.

A child process has none of its parent's threads. A lock that one of them held stays locked in the child for ever, and an
inherited descriptor keeps a file locked after the parent has died.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


def call_in_child(function: Callable[[], None]) -> None:
    """Call `function` in every child process that is forked from now on. Does nothing on Windows, which cannot fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def reset_in_child(instance: _T, reset: Callable[[_T], None]) -> None:
    """Call `reset(instance)` in every child process that is forked while `instance` exists. Does not keep it alive."""
    _resets[instance] = reset


def _reset_all() -> None:
    for instance, reset in list(_resets.items()):
        reset(instance)


_resets: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
call_in_child(_reset_all)

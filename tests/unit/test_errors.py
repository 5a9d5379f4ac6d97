"""Every error can be pickled and copied, so it can leave a worker process."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import Iterator
from inspect import Parameter, isfunction, signature
from typing import Any

import pytest

import handstamp
from handstamp import ExpiredToken, HandstampError, SessionEnded, Unavailable
from handstamp.wire.problems import Refusal, refusal_of
from tests.adapters import django_project  # noqa: F401 - the adapters of Django need its settings

REFUSAL = refusal_of(ExpiredToken(), instance="1")
ARGUMENTS: dict[str, Any] = {
    "description": "The token is over.",
    "error": "invalid_grant",
    "cause": "cancelled",
    "acr": "mfa",
    "fields": [("email", "is empty")],
    "flaw": "refused",
    "kid": "key-1",
    "left": 3,
    "limit": "attempts",
    "max_age_s": 300,
    "names_origin": False,
    "needed": "Send a token.",
    "parts": {"store": "it does not answer", "keys": "ok"},
    "reason": "reuse",
    "refusal": REFUSAL,
    "retry_after_s": 7,
    "role": "admin",
    "scope": "orders:read",
    "session_lives": True,
    "stage": "connect",
    "subject": "ada-id",
    "verdict": "used",
    "why": "the signature is wrong",
}
"""A value for each parameter of an error. A new parameter without a default needs one."""
PATIENCE_S = 120


def all_errors() -> Iterator[type[Exception]]:
    """Yield every exception class of the package."""
    for module in pkgutil.walk_packages(handstamp.__path__, "handstamp."):
        importlib.import_module(module.name)
    kinds: list[type[Exception]] = [Exception]
    for kind in kinds:  # it grows
        kinds += [below for below in kind.__subclasses__() if below not in kinds]
    return (kind for kind in kinds if kind.__module__.split(".")[0] == "handstamp")


def make(kind: type[Exception]) -> Exception:
    """Return an error of this class with a value for each parameter."""
    if not isfunction(kind.__init__):  # one of Python's own
        return kind("what happened")
    parameters = signature(kind).parameters.values()
    if any(one.kind is Parameter.VAR_POSITIONAL for one in parameters):
        return kind("one problem", "another")
    return kind(**{one.name: ARGUMENTS[one.name] for one in parameters if one.name in ARGUMENTS})


def seen(error: BaseException) -> tuple[object, ...]:
    """Return all that a program can see of an error."""
    return type(error), str(error), error.args, vars(error)


@pytest.mark.parametrize("kind", sorted(all_errors(), key=repr))
def test_an_error_survives_pickle_and_copy(kind: type[Exception]) -> None:
    """Each class of the package is the same with every protocol of pickle and as a copy, and still works."""
    error = make(kind)
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    copies += [copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(copy.copy(error)))]
    for other in copies:
        assert other is not error
        assert seen(other) == seen(error)
        if isinstance(other, HandstampError):
            assert isinstance(refusal_of(other, instance="1"), Refusal)


def test_there_are_errors_to_try() -> None:
    """The search finds those of the hierarchy, of the adapters and of the client."""
    found = {f"{kind.__module__}.{kind.__name__}" for kind in all_errors()}
    assert {f"handstamp.{name}" for name in ("errors.SessionEnded", "client.answers.AnswerLost", "crypto.jws.UnknownKey")} < found
    assert {"handstamp.verify.fastapi.Refused", "handstamp.verify.drf.Refused"} < found


def test_a_copy_has_its_own_traceback_and_notes() -> None:
    """A note stays with the error. Raising the copy does not change the original."""
    error = Unavailable("the disk is full", 7)
    error.add_note("while saving")
    other = copy.copy(error)
    with pytest.raises(Unavailable):
        raise other
    assert (other.__notes__, error.__traceback__) == (["while saving"], None)


def _refuse(reason: str) -> None:
    raise SessionEnded(reason)


@pytest.mark.slow
def test_an_error_leaves_a_worker_process() -> None:
    """A pool of processes hands the error to its caller. One that cannot be pickled would leave the caller waiting for ever."""
    with multiprocessing.get_context("spawn").Pool(1) as pool, pytest.raises(SessionEnded) as ended:
        pool.apply_async(_refuse, ["reuse"]).get(PATIENCE_S)
    assert ended.value.reason == "reuse"

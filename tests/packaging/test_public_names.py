"""Each public name is in one module, has a docstring, and is in the reference."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import handstamp.embedded
from tests.adapters import django_project  # noqa: F401 - Django needs its settings before modules that use it are imported
from tests.packaging.test_base_install import first_column

ROOT = Path(__file__).parents[2]
MODULES = (
    "handstamp",
    "handstamp.client",
    "handstamp.client.httpx2",
    "handstamp.embedded",
    "handstamp.testing",
    *(
        f"handstamp.verify.{name}"
        for name in ("asgi", "django", "drf", "fastapi", "flask", "mcp", "metrics", "sockets", "spectacular")
    ),
)
NAMES = [(module, name) for module in MODULES for name in importlib.import_module(module).__all__]


def members(thing: object) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties that a class itself defines."""
    for name, value in vars(thing).items():
        plain = getattr(value, "fget", None) or inspect.unwrap(getattr(value, "__func__", value))
        if not name.startswith("_") and inspect.isfunction(plain):
            yield name, plain


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_public_name_explains_itself(module: str, name: str) -> None:
    """Every public name and its public methods have a docstring."""
    thing = getattr(importlib.import_module(module), name)
    if isinstance(thing, int):
        return  # a number has no docstring; its source has a comment
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for member, value in members(thing):
            assert inspect.getdoc(value), f"{name}.{member}"


def test_the_names_of_the_extras_are_those_of_the_reference() -> None:
    """The names of the extras and the names in the reference are the same, and each is documented once."""
    public = [f"{module}.{name}" for module, name in NAMES if module != "handstamp"]
    assert sorted(first_column("Names of the extras")) == sorted(public)


def test_the_names_of_the_base_install_are_those_of_the_reference() -> None:
    """The names in `handstamp` and the names in the reference are the same."""
    assert sorted(first_column("Public names")) == sorted(handstamp.__all__)


def test_a_public_thing_has_one_name() -> None:
    """Each public object can be imported from one module only."""
    places: dict[int, list[str]] = {}
    for module, name in NAMES:
        places.setdefault(id(getattr(importlib.import_module(module), name)), []).append(f"{module}.{name}")
    assert [names for names in places.values() if len(names) > 1] == []


def test_every_call_on_sessions_is_in_the_page_on_embedding() -> None:
    """The page says what each call returns and raises."""
    page = (ROOT / "docs" / "how-to" / "embed.md").read_text("utf-8")
    for name, _ in members(handstamp.embedded.Sessions):
        assert f"`sessions.{name}(" in page, name

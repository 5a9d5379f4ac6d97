"""`docs/how-to/verify-tokens.md` lists every setting, requirement and refusal of the verifier."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

from handstamp import Verifier
from handstamp.verify.authenticator import Needs
from handstamp.verify.verifier import Check
from handstamp.wire import problems

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "verify-tokens.md").read_text("utf-8")


def table(title: str) -> dict[str, str]:
    """Return the first two columns of a section's table: the name in backquotes, and the text."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section '{title}'"
    return dict(re.findall(r"^\| `([^`]+)`[^|]*\|[ ]*([^|]*?)[ ]*\|", found[1], re.MULTILINE))


def test_every_argument_of_the_verifier_is_documented_with_its_default() -> None:
    """The page gives every argument and its default, except `issuer` (at the top) and `clock` (for tests)."""
    parameters = dict(inspect.signature(Verifier).parameters)
    documented = table("Settings of the verifier")
    assert documented.keys() == parameters.keys() - {"issuer", "clock"}
    for name, text in documented.items():
        default = parameters[name].default
        if default not in (None, inspect.Parameter.empty):
            assert text.strip("`").strip('"').replace(",", "") == str(default), name


def test_every_requirement_and_check_is_documented() -> None:
    """The page lists every requirement of a route and every check policy."""
    documented = sorted(text.split("=")[0] for text in table("What a route can require"))
    assert documented == sorted(name.removesuffix("_s") for name in Needs._fields)
    assert tuple(table("Which check")) == get_args(Check)


def test_every_refusal_has_its_status() -> None:
    """Every refusal on the page has the status of the table of errors."""
    rows = re.findall(r"^\| (\d{3}) \| ([^|]+) \|", PAGE, re.MULTILINE)
    statuses = {(code, int(status)) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    statuses_in_code = {(error.code, status) for error, (status, _) in problems.TABLE.items()}
    assert len(statuses) == 9
    assert statuses <= statuses_in_code

"""`pip install handstamp` installs a small verifier with the documented names, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.commands import environment_without_coverage

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "handstamp"
SERVER_ONLY = frozenset(
    {
        *("starlette", "uvicorn", "uvloop", "httptools", "argon2", "pydantic", "typer", "click", "rich"),
        *("email_validator", "dns", "sqlite3", "anyio", "fastapi", "django", "flask", "httpx", "asyncpg"),
    }
)
"""Packages that are not in the base install, and modules that a verifier does not need."""


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after a statement."""
    program = f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program],
        env=environment_without_coverage(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    names: list[str] = json.loads(ran.stdout)
    return {name.split(".")[0] for name in names}


def section(title: str) -> str:
    """Return one section of the reference."""
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/reference.md has no section '{title}'"
    return found[1]


def table(title: str) -> list[list[str]]:
    """Return the cells of each row of a section's tables, headings excepted."""
    lines = re.findall(r"^\| (.+) \|$", section(title), re.MULTILINE)
    rows = [line.split(" | ") for line in lines]
    return [row for row, below in zip(rows, [*rows[1:], []], strict=True) if set(row[0]) != {"-"} and below[:1] != ["---"]]


def first_column(title: str) -> list[str]:
    """Return the texts in backquotes in the first column of a section's table."""
    return re.findall(r"^\| *`([^`]+)`", section(title), re.MULTILINE)


def test_importing_the_package_imports_nothing_of_the_server() -> None:
    """A service that only verifies tokens loads no web framework, password hashing, database driver or event loop."""
    loaded = loaded_by("import handstamp; handstamp.Verifier")
    assert "handstamp" in loaded
    assert loaded & SERVER_ONLY == set()


def test_importing_the_package_does_not_import_cryptography() -> None:
    """The command line and pytest import the package to find a submodule. This must not load cryptography."""
    assert loaded_by("import handstamp") & {"cryptography", "msgspec", "ssl", "http", "asyncio"} == set()


def test_an_unknown_name_raises_attribute_error() -> None:
    """Names are imported on first use. An unknown name raises `AttributeError`."""
    import handstamp

    with pytest.raises(AttributeError, match="no attribute 'Verfier'"):
        _ = handstamp.Verfier  # type: ignore[attr-defined]
    assert not hasattr(handstamp, "Verfier")


def test_verifying_a_token_imports_nothing_of_the_server() -> None:
    """The first verification imports no module of the server either."""
    statement = (
        "import handstamp\n"
        "keys = handstamp.KeySet([])\n"
        "url = 'https://auth.example.com'\n"
        "verifier = handstamp.Verifier(url, audience='https://api.example.com', keys=keys, check='offline')\n"
        "try:\n    verifier.verify('no.to.ken')\nexcept handstamp.InvalidToken:\n    pass"
    )
    assert loaded_by(statement) & SERVER_ONLY == set()


def test_the_base_install_has_two_dependencies() -> None:
    """Dependencies that a verifier does not need are extras."""
    requirements = metadata.requires("handstamp") or []
    base = {re.split(r"[<>=!~; \[]", line)[0] for line in requirements if "extra ==" not in line}
    assert base == {"cryptography", "msgspec"}


def test_every_setting_is_in_the_reference() -> None:
    """The reference lists every setting, and no others (R89)."""
    from handstamp.config.loading import PREFIX
    from handstamp.config.settings import PARSERS

    assert first_column("Settings") == [PREFIX + name.upper() for name in PARSERS]


def test_every_key_of_a_provider_is_in_the_reference() -> None:
    """The reference lists the keys of the tables of providers, and no others."""
    from handstamp.config.provider_tables import KEYS

    assert first_column("Providers") == list(KEYS)


def test_every_error_code_is_in_the_reference_with_its_statuses() -> None:
    """The table has every error code with all its statuses, because programs depend on codes."""
    from handstamp.wire.problems import TABLE

    statuses: dict[str, set[str]] = {}
    for error, (status, _) in TABLE.items():
        statuses.setdefault(error.code, set()).add(str(status))
    documented = dict(re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", section("Error codes"), re.MULTILINE))
    assert {code: set(text.split(", ")) for code, text in documented.items()} == statuses


def test_every_end_reason_is_in_the_reference_with_its_sentence() -> None:
    """The reference, the messages and the type have the same end reasons and sentences."""
    from handstamp.domain.reasons import END_REASONS, EndReason, RevokedWhy

    assert set(get_args(RevokedWhy)) < set(get_args(EndReason)) == END_REASONS.keys()
    assert table("End reasons") == [[f"`{reason}`", sentence] for reason, sentence in END_REASONS.items()]


def test_every_end_reason_is_in_the_browser_client() -> None:
    """The type in the browser client has the same members."""
    from handstamp.domain.reasons import END_REASONS

    source = (ROOT / "clients/browser/src/errors.ts").read_text("utf-8")
    (union,) = re.findall(r"export type EndReason =([^;]+);", source)
    assert sorted(re.findall(r'"(\w+)"', union)) == sorted(END_REASONS)


def test_every_kind_of_event_is_in_the_reference() -> None:
    """The reference has each kind with its level and meaning, and the type has the same members."""
    from handstamp.domain.event import EVENT_KINDS, EventKind

    assert set(get_args(EventKind)) == EVENT_KINDS.keys()
    assert table("Events") == [
        [f"`{kind}`", rule.level, ", ".join(rule.actors), rule.description] for kind, rule in EVENT_KINDS.items()
    ]


def test_every_delivery_is_in_the_reference() -> None:
    """The reference says for each delivery how each token travels."""
    from handstamp.domain.delivery import DELIVERIES, Delivery

    def way(is_cookie: bool) -> str:
        return "HttpOnly cookie" if is_cookie else "body"

    assert set(get_args(Delivery)) == DELIVERIES.keys()
    rows = [
        [f"`{name}`", way(rule.access_is_cookie), way(rule.refresh_is_cookie), rule.suits] for name, rule in DELIVERIES.items()
    ]
    assert [row for row in table("Endpoints") if row[0] in {f"`{name}`" for name in DELIVERIES}] == rows


def test_every_endpoint_is_in_the_reference() -> None:
    """The reference lists every served operation, and no others."""
    from handstamp.web.routing import OPERATIONS

    documented = re.findall(r"`(GET|POST|PATCH|DELETE) (/[^`]*)`", section("Endpoints"))
    assert sorted(documented) == sorted((operation.method, operation.path) for operation in OPERATIONS)


def test_every_command_is_in_the_reference() -> None:
    """The reference names each group of commands and each command of a group."""
    import typer

    from handstamp.cli import COMMANDS, app

    text = section("Commands")
    root: Any = typer.main.get_command(app)
    for name in COMMANDS:
        assert f"`handstamp {name}" in text
        for command in getattr(root.get_command(None, name), "commands", {}):
            assert re.search(rf"`(handstamp {name} )?{command}\b", text), f"{name} {command}"

"""Load settings from arguments, then `HANDSTAMP_*` in the environment, then `handstamp.toml`; report every mistake at once."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .private_files import require_secret, require_unchangeable
from .settings import PARSERS, Settings

PREFIX = "HANDSTAMP_"
FILE = "handstamp.toml"
_TESTS = f"{PREFIX}TEST_"
"""The names of the test suite's own variables begin like this. They are not settings."""
_LINK = re.compile(
    r"HANDSTAMP(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?|NAME)", re.ASCII
)
"""What Kubernetes sets in every container beside a Service named `handstamp…`, and Docker for a link. They are not settings."""

_SECRETS = ("secret", "previous_secrets")
_URLS = ("database", "smtp_url")
_PASSWORD = re.compile(r"//[^/?#@]*:[^/?#@]+@|[?&](?:password)=")
"""What a URL with a password contains."""
_LINK_VALUE = re.compile(r"(?:tcp|udp|sctp)(?:://\S+)?|\d{1,5}|[0-9a-f.:]+|/\S+/\S+", re.ASCII)

_Given = dict[str, tuple[str, object]]
"""What a source contains: by the name of the setting, its name in that source, and its value there."""


def load(environment: Mapping[str, str] = os.environ, **arguments: Any) -> Settings:
    """Return the settings of this process.

    Args:
        environment: The environment variables.
        arguments: Settings that override the environment and the file. One that is None counts as absent.

    Raises:
        ConfigurationError: With a sentence for every mistake, so that one start shows them all.
    """
    problems: list[str] = []
    variables = {
        name.removeprefix(PREFIX).lower(): text
        for name, text in sorted(environment.items())
        if name.startswith(PREFIX) and not name.startswith(_TESTS) and not _is_link(name, text)
    }
    given = {
        **_collect(_read_file(problems), lambda name: f"{FILE}: {name}", problems),
        **_collect(variables, _environment_name, problems),
        **_collect({name: value for name, value in arguments.items() if value is not None}, _argument_name, problems),
    }
    return _parse(given, problems)


def without_environment(**arguments: Any) -> Settings:
    """Return settings of these arguments and defaults alone, whatever the environment and the file contain.

    Raises:
        ConfigurationError: With a sentence for every mistake.
    """
    problems: list[str] = []
    return _parse(_collect(arguments, _argument_name, problems), problems)


def _is_link(name: str, text: str) -> bool:
    """Return whether a variable is made by Kubernetes or Docker: its name and its value look like theirs."""
    if name == f"{PREFIX}PORT":  # theirs is tcp://10.0.0.1:80, and the setting a number
        return "://" in text
    return _LINK.fullmatch(name) is not None and _LINK_VALUE.fullmatch(text) is not None


def _environment_name(name: str) -> str:
    return PREFIX + name.upper()


def _argument_name(name: str) -> str:
    return f"{name} ({_environment_name(name)})" if name in PARSERS else name


def _read_file(problems: list[str]) -> dict[str, object]:
    file = Path(FILE)
    try:
        values = tomllib.loads(file.read_text("utf-8-sig"))
        require_unchangeable(file, "file of settings")
        if _holds_secret(values):
            require_secret(file, "file of settings, which holds a secret,")
    except FileNotFoundError:
        return {}
    except ConfigurationError as exposed:
        problems.append(str(exposed))
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as problem:
        problems.append(f"{FILE} cannot be read: {problem}")
        return {}
    return values


def _holds_secret(values: Mapping[str, object]) -> bool:
    """Return whether a file of settings holds a secret: of the service, of a client, or in a URL."""
    urls = [values.get(name) for name in _URLS]
    providers = values.get("providers")
    if isinstance(providers, dict) and any(isinstance(table, dict) and "client_secret" in table for table in providers.values()):
        return True
    return any(name in values for name in _SECRETS) or any(isinstance(url, str) and _PASSWORD.search(url) for url in urls)


def _collect(values: Mapping[str, object], label: Callable[[str], str], problems: list[str]) -> _Given:
    """Return the settings among these values. Append a sentence for each other name."""
    for name in sorted(values.keys() - PARSERS.keys()):
        near = difflib.get_close_matches(name, PARSERS, n=1)
        names = ", ".join(map(_environment_name, near or PARSERS))
        problems.append(f"{label(name)} is not a setting. {f'Did you mean {names}?' if near else f'The settings are: {names}.'}")
    return {name: (label(name), value) for name, value in values.items() if name in PARSERS}


def _parse(given: _Given, problems: list[str]) -> Settings:
    """Return the settings. Raise `ConfigurationError` with these problems and those that are found here."""
    values: dict[str, Any] = {}
    for name, (label, value) in given.items():
        try:
            values[name] = PARSERS[name](value)
        except ValueError as problem:
            problems.append(f"{label}: {problem}")
    settings = Settings(**values)
    if values.keys() == given.keys():  # defaults in place of wrong values could seem to contradict the others
        try:
            settings.policy  # noqa: B018 - it compares the numbers with each other
        except ValueError as problem:
            problems.append(str(problem))
    if problems:
        raise ConfigurationError(*problems)
    return settings

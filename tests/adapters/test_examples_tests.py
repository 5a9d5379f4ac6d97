"""Each example's own tests pass, run by pytest as a reader would run them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.examples import EXAMPLES
from tests.commands import environment_with

FILES = sorted(EXAMPLES.glob("*/test_*.py"))


def test_every_example_has_tests() -> None:
    """Every example has tests beside it, which a reader can copy."""
    assert {file.parent.name for file in FILES} == {path.parent.name for path in EXAMPLES.glob("*/*.py")}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_the_tests_of_an_example_pass(file: Path, tmp_path: Path) -> None:
    """An example's tests pass with pytest's defaults and Handstamp's plugin."""
    run_tests(file, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["FastAPI", "Django", "Flask"])
def test_the_tests_of_the_how_to_pass(framework: str, tmp_path: Path) -> None:
    """The how-to's tests pass verbatim beside the example of the same framework."""
    page = (EXAMPLES.parent / "docs" / "how-to" / "testing.md").read_text("utf-8")
    (section,) = re.findall(rf"^## {framework}.*?\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    shutil.copy(EXAMPLES / framework.lower() / "orders.py", tmp_path)
    file = tmp_path / "test_orders.py"
    file.write_text(f"import orders  # the settings\n\n{program}")
    run_tests(file, tmp_path, AUTH_ISSUER="https://auth.example.com", AUTH_CREDENTIAL="tests:not used")


def run_tests(file: Path, folder: Path, **environment: str) -> None:
    """Run one test file with an otherwise empty configuration, and assert that all of it passes."""
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\n")
    # Plugins that only this project's own tests need would take most of the time to load.
    without = [part for name in ("cacheprovider", "schemathesis", "hypothesispytest", "xdist") for part in ("-p", f"no:{name}")]
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-c", str(settings), *without, file.name]
    ran = subprocess.run(
        command, cwd=file.parent, env=environment_with({}) | environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

"""Public names of the client are documented, and the base install does not load the client."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import handstamp.client

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "python-client.md"


@pytest.mark.parametrize("name", handstamp.client.__all__)
def test_the_how_to_documents_every_public_name(name: str) -> None:
    """The how-to page mentions every public name."""
    assert f"`{name}" in HOW_TO.read_text("utf-8")


def test_the_base_package_does_not_import_it() -> None:
    """`import handstamp` does not load httpx, which a verifier does not need."""
    program = "import sys, handstamp; print([name for name in sys.modules if name.startswith(('httpx', 'handstamp.client'))])"
    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "[]\n"


def test_the_client_extra_brings_only_httpx() -> None:
    """`pip install 'handstamp[client]'` brings httpx and nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["optional-dependencies"]["client"] == ["httpx>=0.28"]

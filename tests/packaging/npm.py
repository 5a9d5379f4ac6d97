"""Run npm in tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

PATIENCE_S = 120


def require_npm() -> None:
    """Skip the test if npm is not installed."""
    if shutil.which("npm") is None:
        skip_or_fail("This test needs Node and npm: install them (Debian: apt install nodejs npm; macOS: brew install node).")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI, where every program must be installed."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def npm(folder: Path, *arguments: str) -> str:
    """Run npm and return its output. Skip the test if packages cannot be installed; fail if another command fails."""
    done = subprocess.run(
        ["npm", "--silent", *arguments], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if arguments[0] == "ci" and done.returncode != 0:
        skip_or_fail(f"The packages of {folder.name} could not be installed: {done.stdout}{done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

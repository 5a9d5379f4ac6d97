"""The browser client that the service hands out is built from its source, and its types hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "clients/browser"
SHIPPED = ROOT / "src/handstamp/web/pages/handstamp.js"
PATIENCE_S = 120

pytestmark = pytest.mark.xdist_group("npm-clients")


def without(what: str) -> NoReturn:
    """Skip where something is missing, except in CI, where that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def npm(folder: Path, *arguments: str) -> None:
    """Run npm, and show what it said if it fails."""
    done = subprocess.run(
        ["npm", "--silent", *arguments], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if arguments[0] == "ci" and done.returncode != 0:
        without(f"The packages of clients/browser could not be installed: {done.stdout}{done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_shipped_is_what_is_built(tmp_path: Path) -> None:
    """Byte for byte; and the published types are there."""
    if shutil.which("npm") is None:
        without("This test needs Node and npm: install them (Debian: apt install nodejs npm; macOS: brew install node).")
    folder = tmp_path / "browser"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    npm(folder, "ci", "--no-audit", "--no-fund")
    npm(folder, "run", "check")
    npm(folder, "run", "build")
    assert (folder / "dist/handstamp.js").read_bytes() == SHIPPED.read_bytes(), "run: cd clients/browser && npm run ship"
    assert "export declare function createClient" in (folder / "dist/client.d.ts").read_text()

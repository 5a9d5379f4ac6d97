"""Packages of npm that tests run: installed once for each lock file, outside the repository."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

PATIENCE_S = 120


def skip_or_fail(what: str) -> NoReturn:
    """Skip the test because something is missing; in CI, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def install_scripts(source: Path) -> Path:
    """Return a folder with the scripts of `source` and the packages of its `package-lock.json`. Later runs reuse it."""
    if not (shutil.which("node") and shutil.which("npm")):
        skip_or_fail("These tests need Node and npm: install them (Debian: apt install nodejs npm; macOS: brew install node).")
    folder = kept_folder("npm", source)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        if not (folder / "installed").exists():
            _install(folder)
            (folder / "installed").touch()
    return folder


def kept_folder(kind: str, source: Path) -> Path:
    """Return a folder outside the repository, which later runs find again while `source` pins the same packages."""
    pinned = [source / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in pinned)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"handstamp-{kind}-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        skip_or_fail(f"{folder} belongs to another user.")
    return folder


def _install(folder: Path) -> None:
    """Install exactly the packages of `package-lock.json`, without running their scripts."""
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    try:
        ran = subprocess.run(["npm", "ci", *options], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        skip_or_fail("npm could not fetch the packages in time.")
    if ran.returncode != 0:
        skip_or_fail(f"npm could not install the packages: {ran.stderr}")

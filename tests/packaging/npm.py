"""Run npm in tests, and build the browser client's package."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.npm import kept_folder, skip_or_fail

PATIENCE_S = 300
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "clients/browser"


@dataclass(frozen=True, slots=True)
class ClientPackage:
    """The browser client's package, built in a copy of its folder."""

    folder: Path
    """The copy of `clients/browser`, with `node_modules` and `dist`."""
    archive: Path
    """The archive that `npm publish` would send."""

    def unpack_into(self, application: Path) -> None:
        """Install the package in an application, as npm does."""
        with tarfile.open(self.archive) as package:
            package.extractall(application, filter="data")
        installed = application / "node_modules/@handstamp/browser"
        installed.parent.mkdir(parents=True)
        (application / "package").rename(installed)


def build_client(root: Path) -> ClientPackage:
    """Build the browser client's package in `root/clients/browser`. That fails if a type is wrong."""
    require_npm()
    folder = root / "clients/browser"
    shutil.copy(ROOT / "LICENSE", root)
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    install(folder)
    return ClientPackage(folder, folder / npm(folder, "pack").split()[-1])


def require_npm() -> None:
    """Skip the test if npm is not installed."""
    if shutil.which("npm") is None:
        skip_or_fail("This test needs Node and npm: install them (Debian: apt install nodejs npm; macOS: brew install node).")


def install(folder: Path) -> None:
    """Install what the folder's lock file names. Later runs get links to the files. Skip the test if npm fails."""
    installed, kept = folder / "node_modules", kept_folder("node-modules", folder) / "node_modules"
    if kept.exists():
        _link(kept, installed)
        return
    done = _run(folder, "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts")
    if done.returncode != 0:
        skip_or_fail(f"The packages of {folder.name} could not be installed: {done.stdout}{done.stderr}")
    _link(installed, new := kept.with_name(f"new-{os.getpid()}"))
    with suppress(OSError):  # another run was faster
        new.rename(kept)
    shutil.rmtree(new, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Copy a folder by links to its files, or by copies if it is on another file system."""
    try:
        shutil.copytree(source, target, symlinks=True, copy_function=os.link)
    except shutil.Error:
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def npm(folder: Path, *arguments: str, **environment: str) -> str:
    """Run npm and return its output. Fail the test if the command fails."""
    done = _run(folder, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["npm", "--silent", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

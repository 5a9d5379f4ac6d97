"""All systems, in the order of the tables."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection

import typer

from ..report import progress
from .allauth import Allauth
from .base import System
from .better_auth_server import BetterAuthServerJwt, BetterAuthServerOAuth
from .fastapi_users import FastApiUsersDatabase, FastApiUsersJwt
from .flask_jwt import FlaskJwt
from .handstamp import Handstamp, HandstampEmbedded
from .node import FOLDER, BetterAuth, OidcProvider
from .simplejwt import SimpleJwt

ALL: tuple[type[System], ...] = (
    Handstamp,
    HandstampEmbedded,
    SimpleJwt,
    Allauth,
    FastApiUsersJwt,
    FastApiUsersDatabase,
    FlaskJwt,
    BetterAuthServerJwt,
    BetterAuthServerOAuth,
    BetterAuth,
    OidcProvider,
)


def available(names: Collection[str] = ()) -> list[type[System]]:
    """Return the systems of these names, or all; without Node, leave out the systems that need it and say so.

    Raises `typer.BadParameter` for a name that none has.
    """
    if unknown := set(names) - {one.name for one in ALL}:
        raise typer.BadParameter(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(one.name for one in ALL)}")
    wanted = [one for one in ALL if not names or one.name in names]
    left_out = [one.name for one in wanted if one.is_node]
    if left_out and (problem := _node_problem()):
        progress(f"{' and '.join(left_out)} are left out: {problem}.")
        return [one for one in wanted if not one.is_node]
    return wanted


def _node_problem() -> str:
    """Install the packages of package-lock.json; return the problem, or an empty string."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "Node 20 or newer and npm are needed"
    done, wanted = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    if done.exists() and done.stat().st_mtime >= wanted.stat().st_mtime:
        return ""
    progress("npm installs what better-auth and oidc-provider need; it may have to compile SQLite, which takes a minute")
    installed = subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=FOLDER, capture_output=True, text=True, check=False)
    return "" if installed.returncode == 0 else f"npm ci failed: {installed.stderr.strip().splitlines()[-1:]}"

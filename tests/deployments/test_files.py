"""The files under deploy/ are valid for their tools, and their settings exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from handstamp.config.settings import PARSERS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes" / "handstamp.yaml"
UNIT = DEPLOY / "systemd" / "handstamp.service"
BIN = Path(sys.executable).parent


def check(*command: str | Path) -> str:
    """Run a linter and return its output. Fails if the linter reports a problem."""
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_the_dockerfile() -> None:
    """Hadolint reports nothing, and the image does not run as root."""
    check(BIN / "hadolint", ROOT / "Dockerfile")
    assert re.search(r"^USER 10001$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)


def test_the_compose_file() -> None:
    """The file follows the Compose Specification."""
    check(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_the_kubernetes_manifests() -> None:
    """The manifests follow the API's schema without unknown fields. The image has this version."""
    said = check(BIN / "kubernetes-validate", "--strict", KUBERNETES)
    assert said.count("passed") == 5
    assert set(re.findall(r"image: (\S+)", KUBERNETES.read_text("utf-8"))) == {f"handstamp:{metadata.version('handstamp')}"}


def test_the_systemd_unit(tmp_path: Path) -> None:
    """The unit is valid for systemd, and its exposure score is low."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    unit = tmp_path / "handstamp.service"  # the real command is not installed here
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/handstamp/bin/handstamp", "/bin/true"))
    check("systemd-analyze", "verify", "--man=no", unit)
    check("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)


def test_the_systemd_unit_lets_hashing_lower_its_priority() -> None:
    """The filter allows setpriority. Password hashing runs at a lower priority, so many sign-ins do not slow other requests."""
    filters = re.findall(r"^SystemCallFilter=(~?)(.+)$", UNIT.read_text("utf-8"), re.MULTILINE)
    about_it = [minus == "" for minus, names in filters if {"@system-service", "@resources", "setpriority"} & set(names.split())]
    assert about_it[-1:] == [True]  # later lines override


@pytest.mark.parametrize("file", [COMPOSE, KUBERNETES, UNIT, ROOT / "docs" / "how-to" / "deploy.md"], ids=lambda file: file.name)
def test_every_named_setting_exists(file: Path) -> None:
    """A misspelt setting would prevent the start."""
    named = {name.lower() for name in re.findall(r"HANDSTAMP_([A-Z_]+)", file.read_text("utf-8"))}
    assert named
    assert named <= PARSERS.keys()


def test_the_image_omits_development_files() -> None:
    """Docker gets only the files that the build copies: no database, no secret, no `.env`."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert lines[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.*) \./?\S*$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert {f"!{name}" for line in copied for name in line.split()} == {line for line in lines if line.startswith("!")}

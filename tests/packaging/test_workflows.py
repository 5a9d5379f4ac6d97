"""The workflows under .github are valid and safe, and match the Makefile and the metadata."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text_of(name: str) -> str:
    """Return the text of a workflow."""
    return (ROOT / ".github" / "workflows" / name).read_text("utf-8")


def test_actionlint_finds_nothing() -> None:
    """Syntax, expressions, contexts and names of jobs and outputs are valid."""
    ran = subprocess.run([BIN / "actionlint", *WORKFLOWS], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_zizmor_finds_nothing() -> None:
    """The workflows have no template injection, stored credentials, unneeded permissions or unpinned actions."""
    command = [BIN / "zizmor", "--offline", "--no-progress", "--persona", "pedantic", ROOT / ".github"]
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for workflow in WORKFLOWS:
        assert workflow.name in ran.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    """Each action is pinned by its commit, because a tag can move. A comment names the version for Dependabot."""
    used = re.findall(r"uses: (.+)", workflow.read_text("utf-8"))
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


def test_one_action_has_one_version() -> None:
    """All workflows use the same commit of an action."""
    used = {
        found for workflow in WORKFLOWS for found in re.findall(r"uses: ([\w-]+/[\w-]+)\S*@(\w+)", workflow.read_text("utf-8"))
    }
    assert len(used) == len({repository for repository, _ in used})


def test_make_has_what_workflows_call() -> None:
    """The Makefile has each `make` target that a workflow calls."""
    called = {target for workflow in WORKFLOWS for target in re.findall(r"\bmake ([a-z-]+)", workflow.read_text("utf-8"))}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"check", "setup"} <= called <= targets


def test_every_supported_version_is_tested() -> None:
    """The matrix has each Python of the classifiers and each documented PostgreSQL."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert f"python: {json.dumps(promised)}" in text_of("ci.yml")
    assert project["requires-python"] == f">={promised[0]}"
    assert 'postgres: ["14", "15", "16", "17", "18"]' in text_of("ci.yml")
    assert "PostgreSQL 14 or newer" in (ROOT / "docs" / "how-to" / "postgresql.md").read_text("utf-8")


def test_only_a_tag_releases() -> None:
    """Only a tag gets the permission to publish; pull requests and branches do not."""
    release = text_of("release.yml")
    assert re.search(r'^on:\n  push:\n    tags: \["v\*"\]\n\n', release, re.MULTILINE)
    for workflow in WORKFLOWS:
        if workflow.name != "release.yml":
            assert "id-token: write" not in workflow.read_text("utf-8")
    for needed in ("attestations: true", "provenance: mode=max", "sbom: true", "environment:\n      name: pypi"):
        assert needed in release

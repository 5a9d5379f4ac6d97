"""The wheel and the sdist: their builds are reproducible, and they contain the right files."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import referencing

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "handstamp"
SBOM = "sboms/handstamp.cdx.json"
SOURCE_DATE_EPOCH = "1795000000"
PATIENCE_S = 120
NOT_SOURCE = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "node_modules", "dist", "*.db")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


class BuildResult(NamedTuple):
    """The files of one build."""

    wheel: Path
    sdist: Path


def build(source: Path, folder: Path) -> BuildResult:
    """Build the wheel and the sdist of a source tree into a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH}
    ran = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ran.returncode == 0, ran.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return BuildResult(wheel, sdist)


@pytest.fixture(scope="module")
def build_result(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """Return the wheel and the sdist that are built from this tree."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def wheel(build_result: BuildResult) -> Iterator[zipfile.ZipFile]:
    """Open the wheel."""
    with zipfile.ZipFile(build_result.wheel) as opened:
        yield opened


def info_folder(wheel: zipfile.ZipFile) -> str:
    """Return the name of the wheel's .dist-info folder."""
    (name,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    return name


@pytest.fixture
def sbom(wheel: zipfile.ZipFile) -> dict[str, Any]:
    """Return the software bill of materials in the wheel."""
    sbom: dict[str, Any] = json.loads(wheel.read(f"{info_folder(wheel)}/{SBOM}"))
    return sbom


def test_the_wheel_has_all_runtime_files(wheel: zipfile.ZipFile) -> None:
    """The wheel has every tracked file of the package: the schema, pages, common passwords and type marker."""
    carried = set(wheel.namelist())
    wanted = {
        f"handstamp/{file.relative_to(SOURCE).as_posix()}"
        for file in SOURCE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted - carried == set()
    for needed in ("storage/migrations/sqlite/0001_initial.sql", "crypto/common_passwords.txt", "py.typed"):
        assert f"handstamp/{needed}" in carried
    for needed in ("pages/templates/sign_in.html", "static/base.css", "static/handstamp.js"):
        assert f"handstamp/web/{needed}" in carried


def test_the_wheel_has_no_other_files(wheel: zipfile.ZipFile) -> None:
    """The wheel contains no test, secret or database from a developer's folder."""
    strangers = [name for name in wheel.namelist() if not re.match(r"handstamp/|handstamp-[\d.\w]+\.dist-info/", name)]
    assert strangers == []
    assert not [name for name in wheel.namelist() if name.endswith((".db", ".secret", ".pyc", ".log", ".pem", ".key"))]


def test_the_wheel_names_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    """The wheel has the licence, the notice, one command, the fixtures for pytest, and the documented extras."""
    info = info_folder(wheel)
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= set(wheel.namelist())
    assert wheel.read(f"{info}/entry_points.txt").decode().split() == [
        "[console_scripts]",
        "handstamp",
        "=",
        "handstamp.cli:main",
        "[pytest11]",
        "handstamp",
        "=",
        "handstamp.testing.plugin",
    ]
    described = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in described
    assert "Provides-Extra: server" in described


def test_the_wheel_imports_and_verifies_by_itself(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """The wheel works without the source tree."""
    wheel.extractall(tmp_path)
    program = "import handstamp; print(handstamp.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.strip() == str(tmp_path / "handstamp" / "__init__.py"), ran.stderr


def test_builds_are_reproducible(build_result: BuildResult, tmp_path: Path) -> None:
    """A copy of the tree in another folder, with other times and a stricter umask, builds the same wheel and sdist."""
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=NOT_SOURCE)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(path.stat().st_mode & ~0o077)
    again = build(copy, tmp_path / "dist")
    assert again.wheel.read_bytes() == build_result.wheel.read_bytes()
    assert again.sdist.read_bytes() == build_result.sdist.read_bytes()


def test_the_sdist_builds_the_same_wheel(build_result: BuildResult, tmp_path: Path) -> None:
    """A build from the sdist gives the released wheel."""
    with tarfile.open(build_result.sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = build(source, tmp_path / "dist")
    assert again.wheel.read_bytes() == build_result.wheel.read_bytes()


def test_the_tests_of_the_sdist_can_be_collected(build_result: BuildResult, tmp_path: Path) -> None:
    """Linux distributions run the tests from the sdist. It has every file that test modules need at import."""
    with tarfile.open(build_result.sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    environment = os.environ | {"PYTHONPATH": str(source / "src")}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-p", "no:cacheprovider", "--assert=plain"]
    ran = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]


def test_the_sdist_has_the_files_that_its_tests_read(build_result: BuildResult) -> None:
    """The sdist has the files of `bench`, deploy/, .github/ and the root that tests use."""
    with tarfile.open(build_result.sdist) as packed:
        carried = {name.partition("/")[2] for name in packed.getnames()}
    for needed in ("bench/load.py", "deploy/compose/compose.yaml", "Dockerfile", "Makefile", "uv.lock", "README.md"):
        assert needed in carried
    assert [name for name in carried if re.search(r"node_modules|\.venv|\.(db|secret|pyc|pem|key)$", name)] == []


def test_the_bill_of_materials_is_valid(sbom: dict[str, Any]) -> None:
    """The wheel's bill of materials (PEP 770) is valid CycloneDX 1.6, by the published schema."""
    names = [f"{name}.SNAPSHOT.schema.json" for name in ("bom-1.6", "spdx", "jsf-0.82")]
    folder = importlib.resources.files("cyclonedx.schema._res")
    documents = [json.loads(folder.joinpath(name).read_text("utf-8")) for name in names]
    known = referencing.Registry[Any]().with_contents(
        (f"http://cyclonedx.org/schema/{name}", document) for name, document in zip(names, documents, strict=True)
    )
    schema = jsonschema.Draft7Validator(documents[0], registry=known)
    schema.validate(sbom)
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(sbom | {"components": [{"type": "library"}]})


def test_the_bill_of_materials_lists_every_dependency(sbom: dict[str, Any]) -> None:
    """The bill lists each dependency in the metadata: the two of the base install as required, extras as optional."""
    scopes = {component["name"]: component["scope"] for component in sbom["components"]}
    for line in metadata.requires("handstamp") or []:
        name = re.split(r"[<>=!~; \[]", line)[0]
        assert scopes[name] == ("optional" if "extra ==" in line else "required"), line
    assert {component["name"] for component in sbom["components"]} >= {"cffi", "anyio", "argon2-cffi-bindings"}
    assert not {"pytest", "ruff", "hatchling"} & scopes.keys()


def test_the_metadata_has_authors_urls_and_classifiers() -> None:
    """The metadata has the authors, the links and the supported versions of Python."""
    described = metadata.metadata("handstamp")
    assert described["Author"] == "Handstamp contributors"
    assert {line.split(",")[0] for line in described.get_all("Project-URL") or []} >= {
        "Source",
        "Changelog",
        "Issues",
        "Security",
    }
    classifiers = described.get_all("Classifier") or []
    for version in ("3.11", "3.12", "3.13", "3.14"):
        assert f"Programming Language :: Python :: {version}" in classifiers
    assert "Typing :: Typed" in classifiers

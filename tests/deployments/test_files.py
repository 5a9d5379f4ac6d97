"""The files under deploy/ are valid for their tools, and their settings exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from handstamp.config.settings import PARSERS, Settings

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


@pytest.mark.parametrize("file", [ROOT / "Dockerfile", COMPOSE, KUBERNETES], ids=lambda file: file.name)
def test_every_image_has_an_exact_version(file: Path) -> None:
    """A tag such as `latest`, `17` or `3.13-slim` is another image tomorrow. Our own image has the version of this package."""
    images = re.findall(r"^(?:FROM| +(?:- )?image:) +(\S+)", file.read_text("utf-8"), re.MULTILINE)
    assert images
    for image in images:
        name, _, tag = image.partition(":")
        parts = {"postgres": 2}.get(name, 3)  # PostgreSQL's versions have two numbers
        assert re.fullmatch(rf"\d+(\.\d+){{{parts - 1}}}(-[a-z0-9.-]+)?", tag), image
        assert name != "handstamp" or tag == metadata.version("handstamp")
    assert all(re.search(r"==\d", line) for line in file.read_text("utf-8").splitlines() if "pip install" in line)


def test_every_container_has_few_rights_and_bounds() -> None:
    """No container of the Compose file has more capabilities than it names, more memory or more processes."""
    for name, service in yaml.safe_load(COMPOSE.read_text("utf-8"))["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
        assert "SYS_ADMIN" not in service.get("cap_add", [])
        assert name == "postgres" or service["read_only"], name


def pod_of(manifest: Path) -> dict[str, Any]:
    """Return the specification of the manifest's pods."""
    (deployment,) = [each for each in yaml.safe_load_all(manifest.read_text("utf-8")) if each["kind"] == "Deployment"]
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def test_the_pods_have_few_rights_and_bounds() -> None:
    """The pods follow the Pod Security Standard `restricted`, with a read-only file system and limits."""
    pod = pod_of(KUBERNETES)
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    for container in (*pod["initContainers"], *pod["containers"]):
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
    assert "NetworkPolicy" in KUBERNETES.read_text("utf-8")


def test_the_probes_ask_on_the_port_and_with_the_scheme_of_the_service() -> None:
    """The pods serve http on the image's port, and so do the probes. /healthz alone restarts a pod."""
    (container,) = pod_of(KUBERNETES)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert "HANDSTAMP_TLS" not in str(container)
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {ports[probe["port"]] for probe in probes.values()} == {Settings().port}
    assert {probe.get("scheme", "HTTP") for probe in probes.values()} == {"HTTP"}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }


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

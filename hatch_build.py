"""Adds a software bill of materials to the wheel: `.dist-info/sboms/handstamp.cdx.json` (PEP 770, CycloneDX 1.6).

It lists what `uv.lock` resolves for the package and each of its extras, and the third-party files inside the wheel. It has no
time and no random number, so the same tree gives the same bytes.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NAME = "handstamp.cdx.json"
_BUNDLED: tuple[dict[str, Any], ...] = (
    {
        "type": "data",
        "bom-ref": "zxcvbn-frequency-lists",
        "name": "zxcvbn frequency lists",
        "description": "Part of handstamp/crypto/common_passwords.txt",
        "licenses": [{"license": {"id": "MIT"}}],
        "externalReferences": [{"type": "vcs", "url": "https://github.com/dropbox/zxcvbn"}],
    },
    {
        "type": "data",
        "bom-ref": "django-common-passwords",
        "name": "Django's list of common passwords",
        "description": "Part of handstamp/crypto/common_passwords.txt",
        "licenses": [{"license": {"id": "BSD-3-Clause"}}],
        "externalReferences": [{"type": "vcs", "url": "https://github.com/django/django"}],
    },
)
"""Third-party material inside the wheel; NOTICE names it too."""


class BillOfMaterials(BuildHookInterface[Any]):
    """The hook that hatchling runs for `tool.hatch.build.targets.wheel.hooks.custom`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling passes both
        """Write the document and hand it to the wheel builder."""
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name, _NAME)
        lock = tomllib.loads(Path(self.root, "uv.lock").read_text("utf-8"))
        path.write_text(json.dumps(bill_of_materials(lock), indent=1, sort_keys=True) + "\n", "utf-8")
        build_data["sbom_files"].append(str(path))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the temporary file."""
        self._folder.cleanup()


def bill_of_materials(lock: dict[str, Any]) -> dict[str, Any]:
    """Return the CycloneDX document of the package and everything that it and its extras bring along."""
    packages = {f"pkg:pypi/{one['name']}@{one['version']}": one for one in lock["package"]}
    (root,) = (reference for reference, package in packages.items() if package["name"] == "handstamp")
    needs = {reference: _resolve(packages, package.get("dependencies", ())) for reference, package in packages.items()}
    required = _reachable(needs, needs[root])
    for extra in packages[root]["optional-dependencies"].values():
        needs[root] |= _resolve(packages, extra)
    everything = sorted(_reachable(needs, needs[root]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": root,
                "name": "handstamp",
                "version": packages[root]["version"],
                "purl": root,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "components": list(_BUNDLED),
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": reference,
                "name": packages[reference]["name"],
                "version": packages[reference]["version"],
                "purl": reference,
                "scope": "required" if reference in required else "optional",
            }
            for reference in everything
        ],
        "dependencies": [{"ref": one, "dependsOn": sorted(needs[one])} for one in [root, *everything]],
    }


def _resolve(packages: dict[str, dict[str, Any]], listed: Iterable[dict[str, Any]]) -> set[str]:
    """Return the packages that the lock file means by a list of dependencies; without a version there is only one."""
    return {
        reference
        for each in listed
        for reference, package in packages.items()
        if package["name"] == each["name"] and each.get("version", package["version"]) == package["version"]
    }


def _reachable(needs: dict[str, set[str]], first: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found.add(reference)
            waiting += needs[reference]
    return found

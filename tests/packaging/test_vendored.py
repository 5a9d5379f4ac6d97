"""Files of other projects in the wheel are unchanged and have their licences."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.packaging.npm import install, require_npm

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "vendor"
STATIC = ROOT / "src/handstamp/web/static"

pytestmark = pytest.mark.xdist_group("npm-clients")


def test_the_viewer_equals_the_npm_package(tmp_path: Path) -> None:
    """Each file equals the one in the npm package. npm checks the package against the hash in the lock file."""
    require_npm()
    folder = tmp_path / "vendor"
    shutil.copytree(VENDOR, folder, ignore=shutil.ignore_patterns("node_modules"))
    install(folder)
    package = folder / "node_modules/swagger-ui-dist"
    shipped = sorted(file.name for file in (STATIC / "swagger-ui").iterdir())
    assert shipped == ["LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css"]
    for name in shipped:
        assert (STATIC / "swagger-ui" / name).read_bytes() == (package / name).read_bytes(), "run: cd vendor && npm run ship"


def test_the_notice_names_the_viewer_and_its_version() -> None:
    """NOTICE names the viewer, as the Apache licence requires, and its exact version."""
    version = json.loads((VENDOR / "package.json").read_text())["dependencies"]["swagger-ui-dist"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    notice = (ROOT / "NOTICE").read_text()
    assert f"Swagger UI {version}" in notice
    assert (STATIC / "swagger-ui/NOTICE").read_text().splitlines()[1] in notice

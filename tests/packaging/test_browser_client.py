"""The browser client that the service serves is built from its source, and its types are valid."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from tests.packaging.npm import npm, require_npm

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "clients/browser"
SHIPPED = ROOT / "src/handstamp/web/static/handstamp.js"
USER = """
import { createClient, HandstampError, OfflineError, type Client, type EndReason, type State } from "@handstamp/browser";
const client: Client = createClient({ url: "https://auth.example.com", apis: ["https://api.example.com"] });
client.onChange((state: State) => {
  const reason: EndReason | undefined = state.status === "signed-out" ? state.reason : undefined;
  console.log(reason);
});
client.signIn("ada@example.com", "").catch((error) => error instanceof HandstampError && console.log(error.retryAfter));
client.profile().then(({ email }) => console.log(email), (error) => error instanceof OfflineError);
// @ts-expect-error
createClient({ url: 8000 });
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("npm-clients")]


def test_the_shipped_client_equals_its_build(tmp_path: Path) -> None:
    """The shipped files equal the build, and TypeScript finds the types by both kinds of module resolution."""
    require_npm()
    folder = tmp_path / "clients/browser"
    shutil.copy(ROOT / "LICENSE", tmp_path)
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    npm(folder, "ci", "--no-audit", "--no-fund")
    npm(folder, "run", "check")
    packed = npm(folder, "pack").split()[-1]
    assert (folder / "dist/handstamp.js").read_bytes() == SHIPPED.read_bytes(), "run: cd clients/browser && npm run ship"
    user = folder / "user"
    with tarfile.open(folder / packed) as package:
        package.extractall(user, filter="data")
    assert (user / "package/dist/LICENSE").is_file()
    installed = user / "node_modules/@handstamp/browser"
    installed.parent.mkdir(parents=True)
    (user / "package").rename(installed)
    (user / "page.mts").write_text(USER)
    for module, resolution in (("esnext", "bundler"), ("nodenext", "nodenext")):
        options = ("--noEmit", "--strict", "--module", module, "--moduleResolution", resolution)
        npm(folder, "exec", "--", "tsc", *options, "user/page.mts")

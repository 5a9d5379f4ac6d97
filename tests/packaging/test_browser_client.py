"""The browser client that the service serves is built from its source, and its types are valid."""

from __future__ import annotations

import shutil
import subprocess
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
using scoped: Client = createClient({ url: "https://auth.example.com" });
"""
COMPONENTS = """
import { HandstampProvider, useAuth } from "@handstamp/browser/react";
import { handstamp, useAuth as useVueAuth } from "@handstamp/browser/vue";
const out: () => Promise<void> = useAuth().signOut;
const status: "unknown" | "signed-in" | "signed-out" = useVueAuth().state.value.status;
export { HandstampProvider, handstamp, out, status };
"""
RENDERED = """
const { createElement } = require("react");
const { createClient } = require("@handstamp/browser");
const react = require("@handstamp/browser/react");
const vue = require("@handstamp/browser/vue");
const client = createClient({ url: "https://auth.example.com" });
const Who = () => createElement("b", null, react.useAuth().state.status);
console.log(require("react-dom/server").renderToString(createElement(react.HandstampProvider, { client }, createElement(Who))));
const { createSSRApp, h } = require("vue");
const application = createSSRApp({ setup: () => () => h("i", vue.useAuth().state.value.status) }).use(vue.handstamp(client));
require("vue/server-renderer").renderToString(application).then(console.log);
"""
CONSUMERS = {
    "page.mts": ("esnext", "bundler"),
    "module.mts": ("nodenext", "nodenext"),
    "required.cts": ("node16", "node16"),
    "classic.ts": ("commonjs", "node10"),
}
"""Kinds of TypeScript files that use the package, with their `module` and `moduleResolution`."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("npm-clients")]


def test_the_shipped_client_equals_its_build(tmp_path: Path) -> None:
    """The shipped file equals the build. TypeScript finds the types by every kind of module resolution, and Node the code."""
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
    (user / "package.json").write_text("{}")
    for name, (module, resolution) in CONSUMERS.items():
        (user / name).write_text(USER + COMPONENTS)
        options = ("--noEmit", "--strict", "--target", "es2022", "--module", module, "--moduleResolution", resolution)
        npm(folder, "exec", "--", "tsc", *options, f"user/{name}")
    (user / "server.cjs").write_text(RENDERED)
    (user / "server.mjs").write_text('import { createClient } from "@handstamp/browser"; console.log(typeof createClient);')
    assert run_node(user, "server.cjs").split() == ["<b>unknown</b>", "<i>unknown</i>"]
    assert run_node(user, "server.mjs").split() == ["function"]


def run_node(folder: Path, name: str) -> str:
    """Run a script with Node and return its output."""
    return subprocess.run(["node", name], cwd=folder, capture_output=True, text=True, check=True, timeout=120).stdout

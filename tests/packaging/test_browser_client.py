"""The browser client that the service serves is built from its source, and its types are valid."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.npm import ROOT, SOURCE, ClientPackage, install, npm

SHIPPED = ROOT / "src/handstamp/web/static"
USER = """
import { createClient, HandstampError, OfflineError } from "@handstamp/browser";
import type { Client, EndReason, Proof, SignIn, State, StepUp } from "@handstamp/browser";
const onStepUp = async ({ maxAge, acrValues, signal }: StepUp) =>
  signal.aborted || (maxAge ?? 0) > 300 ? undefined : acrValues.includes("mfa") ? { code: "123456" } : { password: "" };
const client: Client = createClient({ url: "https://auth.example.com", apis: ["https://api.example.com"], onStepUp });
async function signIn(): Promise<string> {
  let signIn: SignIn = await client.signIn("ada@example.com", "");
  // @ts-expect-error: a session's id is there after the last step alone
  signIn.sessionId;
  if (signIn.status === "second-factor") signIn = await client.secondFactor(signIn, { code: "123456" });
  // @ts-expect-error: a factor must be set up first
  if (signIn.status === "enrolment") signIn = await client.secondFactor(signIn, { passkey: true });
  return signIn.status === "signed-in" ? signIn.sessionId : signIn.challenge;
}
client.onChange((state: State) => {
  const reason: EndReason | undefined = state.status === "signed-out" ? state.reason : undefined;
  console.log(reason);
});
signIn().catch((error) => error instanceof HandstampError && console.log(error.retryAfter));
client.profile().then(({ email }) => console.log(email), (error) => error instanceof OfflineError);
const proof: Proof = { code: "123456" };
client.register({ email: "", password: "" }).then((sent) => sent.status === "mail-sent" && console.log(sent.codeExpiresIn));
client.signInWithCode(proof).catch((error) => error.code === "invalid_code");
// @ts-expect-error
createClient({ url: 8000 });
// @ts-expect-error
createClient({ url: "https://auth.example.com", onStepUp: () => "a password" });
using scoped: Client = createClient({ url: "https://auth.example.com", dpop: true });
using other: Client = createClient({ url: "https://auth.example.com" });
"""
COMPONENTS = """
import { HandstampProvider, useAuth } from "@handstamp/browser/react";
import { handstamp, useAuth as useVueAuth } from "@handstamp/browser/vue";
import { createClient as createNativeClient, type Store } from "@handstamp/browser/native";
const store: Store = { getItemAsync: async () => null, setItemAsync: async () => {}, deleteItemAsync: async () => {} };
const native: Client = createNativeClient({ url: "https://auth.example.com", store });
// @ts-expect-error: there is no WebCrypto
createNativeClient({ url: "https://auth.example.com", store, dpop: true });
const out: () => Promise<void> = useAuth().signOut;
const passkeys: Promise<readonly { name: string }[]> = useAuth().passkeys.list();
const remove: (email: string) => Promise<void> = useVueAuth().deleteAccount;
const status: "unknown" | "signed-in" | "signed-out" = useVueAuth().state.value.status;
export { HandstampProvider, handstamp, native, out, passkeys, remove, status };
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
const deaf = { ...client, onChange() { throw new Error("A server unmounts no application, so listeners would pile up."); } };
const application = createSSRApp({ setup: () => () => h("i", vue.useAuth().state.value.status) }).use(vue.handstamp(deaf));
require("vue/server-renderer").renderToString(application).then(console.log);
"""
JEST = """
const { createClient, HandstampError } = %s;
test("a client", () => {
  const client = createClient({ url: "https://auth.example.com" });
  expect(client.state).toEqual({ status: "unknown", online: true });
  expect(new HandstampError("unavailable", 503, "")).toBeInstanceOf(Error);
});
"""
CONSUMERS = {
    "bundler": ("esnext", ("page.mts",)),
    "nodenext": ("nodenext", ("module.mts", "required.cts")),
    "node10": ("commonjs", ("classic.ts",)),
}
"""How TypeScript resolves modules, each with its `module` and the files that use the package. `node16` resolves as `nodenext`."""

CHECK = """
const ts = require("typescript");
const { basename, relative } = require("path");
const parsed = {};
const found = {};
for (const [resolution, [module, names]] of Object.entries(JSON.parse(process.argv[2]))) {
  const settings = { noEmit: true, strict: true, types: [], target: "es2022", module, moduleResolution: resolution };
  const { options } = ts.convertCompilerOptionsFromJson(settings, ".");
  const host = ts.createCompilerHost(options);
  const { getSourceFile } = host;
  host.getSourceFile = (name, how, ...rest) => (parsed[name + how.impliedNodeFormat] ??= getSourceFile(name, how, ...rest));
  const program = ts.createProgram(names, options, host);
  const ours = program.getSourceFiles().filter((file) => !/node_modules\\/(?!@handstamp)/.test(relative(".", file.fileName)));
  const problems = [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()];
  for (const file of ours) problems.push(...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file));
  found[resolution] = {
    problems: problems.map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`),
    checked: ours.map((file) => basename(file.fileName)),
  };
}
console.log(JSON.stringify(found));
"""
"""Checks the files of each kind of module resolution and the declarations that they find, without those of React and Vue.

The declarations of React, Vue and the browser are parsed once for all.
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("npm-clients")]


@pytest.fixture(scope="module")
def application(client_package: ClientPackage) -> Path:
    """Return the folder of an application that has installed the package. It finds React, Vue and TypeScript beside it."""
    folder = client_package.folder / "application"
    folder.mkdir()
    client_package.unpack_into(folder)
    (folder / "package.json").write_text("{}")
    return folder


def test_the_shipped_client_equals_its_build(client_package: ClientPackage) -> None:
    """The files that the service serves are the build, and the one that every page loads is small."""
    folders = (client_package.folder / "dist", SHIPPED)
    built, shipped = ({file.name: file.read_bytes() for file in folder.glob("handstamp*.js")} for folder in folders)
    assert built == shipped, "run: cd clients/browser && npm run ship"
    assert len(shipped["handstamp.js"]) < 12_000
    assert b"import{" not in shipped["handstamp.js"], "every page would load a second file: let modules import types alone"


def test_typescript_finds_the_types(application: Path) -> None:
    """Every kind of module resolution finds the types of all entry points, and the package's own declarations are valid."""
    for _, names in CONSUMERS.values():
        for name in names:
            (application / name).write_text(USER + COMPONENTS)
    (application / "check.cjs").write_text(CHECK)
    found = json.loads(run_node(application, "check.cjs", json.dumps(CONSUMERS)))
    assert [problem for each in found.values() for problem in each["problems"]] == []
    for resolution, (_, names) in CONSUMERS.items():
        assert {*names, "index.d.ts", "native.d.ts", "react.d.ts", "vue.d.ts"} <= set(found[resolution]["checked"])


def test_node_imports_and_renders_without_a_window(application: Path) -> None:
    """CommonJS and ES modules are found, and React and Vue render on a server."""
    assert (application / "node_modules/@handstamp/browser/dist/LICENSE").is_file()
    (application / "server.cjs").write_text(RENDERED)
    (application / "server.mjs").write_text(
        'import { createClient } from "@handstamp/browser"; console.log(typeof createClient);'
    )
    assert run_node(application, "server.cjs").split() == ["<b>unknown</b>", "<i>unknown</i>"]
    assert run_node(application, "server.mjs").split() == ["function"]


def test_jest_runs_both_kinds_of_modules(client_package: ClientPackage, tmp_path: Path) -> None:
    """Jest loads the CommonJS build, and with Node's modules the other one. Neither needs a transformation."""
    shutil.copytree(SOURCE / "jest", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    install(tmp_path)
    client_package.unpack_into(tmp_path)
    (tmp_path / "required.test.cjs").write_text(JEST % 'require("@handstamp/browser")')
    (tmp_path / "imported.test.mjs").write_text(JEST % 'await import("@handstamp/browser")')
    npm(tmp_path, "test", NODE_OPTIONS="--experimental-vm-modules")


def run_node(folder: Path, name: str, *arguments: str) -> str:
    """Run a script with Node and return its output."""
    return subprocess.run(["node", name, *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=120).stdout

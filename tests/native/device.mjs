// An application on a device: it runs the client of `@handstamp/browser/native` without what React Native does not have. Its store
// is a file, so that it outlives the process, and has the limits of expo-secure-store. Each line of the input is an expression; its
// value is printed as JSON.
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

for (const name of ["BroadcastChannel", "crypto", "navigator", "reportError"]) {
  Object.defineProperty(globalThis, name, { value: undefined, configurable: true });
}
delete AbortSignal.timeout;
Object.defineProperty(AbortSignal.prototype, "reason", { value: undefined });

const [library, url, file] = process.argv.slice(2);
const { createClient } = await import(library);

const items = () => {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return {};
  }
};

/** The test reads the file at any moment, so it is replaced as a whole. */
const save = (changed) => {
  writeFileSync(`${file}.new`, JSON.stringify(changed));
  renameSync(`${file}.new`, file);
};

/** The names of methods that fail, or wait for ever. */
const failing = new Set();
const hanging = new Set();
let isHanging = false;

async function take(method) {
  if (hanging.has(method)) {
    isHanging = true;
    await new Promise(() => {});
  }
  if (failing.has(method)) throw new Error("User interaction is not allowed");
  await new Promise((done) => setTimeout(done, 1));
}

const store = {
  async getItemAsync(key) {
    await take("get");
    return items()[key] ?? null;
  },
  async setItemAsync(key, value) {
    await take("set");
    if (!/^[\w.-]+$/.test(key)) throw new Error("Invalid key");
    if (typeof value !== "string" || Buffer.byteLength(value) > 2048) throw new Error("Invalid value");
    save({ ...items(), [key]: value });
  },
  async deleteItemAsync(key) {
    await take("delete");
    const { [key]: _, ...rest } = items();
    if (Object.keys(rest).length === 0) rmSync(file, { force: true });
    else save(rest);
  },
};

let auth;
const start = () => {
  auth = createClient({ url, store });
};

/** Resolve when the state has these members. */
const until = (wanted) =>
  new Promise((done) => {
    const look = (state) => {
      if (Object.entries(wanted).every(([name, value]) => state[name] === value)) done(state);
    };
    auth.onChange(look);
    look(auth.state);
  });

setInterval(() => {}, 1000);
for await (const line of createInterface({ input: process.stdin })) {
  let value;
  try {
    value = await eval(`(async () => (${line}))()`);
  } catch (error) {
    value = `${error.name}: ${error.code ?? error.message}`;
  }
  console.log(JSON.stringify(value ?? null));
}

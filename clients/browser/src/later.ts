import { errorOf, HandstampError, OfflineError } from "./errors.js";
import type { Requests } from "./methods.js";
import { post } from "./requests.js";
import type { Transport } from "./transport.js";
import type { LateMethods } from "./types.js";

/** What is loaded when it is first used. Each module imports types alone from the core, and is given what it needs. */
const MODULES = {
  methods: () => import("./methods.js"),
  dpop: () => import("./dpop.js"),
};

type Words<Text extends string> = Text extends `${infer First} ${infer Rest}` ? First | Words<Rest> : Text;

const MAILED =
  "register confirmRegistration requestVerification verifyEmail requestCode signInWithCode requestPasswordReset resetPassword requestEmailChange changeEmail undoEmailChange undoFactor";
const OWN = "changePassword changeName signOutEverywhere exportData deleteAccount webSocket";
const PROVIDERS = "signInWith identities addIdentity removeIdentity";
const FACTORS = "secondFactor factors createTotp confirmTotp removeTotp createRecoveryCodes signInWithPasskey stepUp";

/** Return the methods that are loaded when one of them is first used. */
export function lateMethods(requests: Requests): LateMethods {
  let methods: LateMethods;
  /** Return methods of these names. `find` returns the object that has the real ones. */
  const later = <Names extends string, All>(names: Names, find: (all: LateMethods) => All): Pick<All, Words<Names> & keyof All> => {
    const stub = (name: string) => async (...args: unknown[]) => {
      const module = await load("methods");
      methods ??= module.lateMethods(requests);
      return (find(methods) as Record<string, (...args: unknown[]) => unknown>)[name]?.(...args);
    };
    return Object.fromEntries(names.split(" ").map((name) => [name, stub(name)])) as Pick<All, Words<Names> & keyof All>;
  };
  const passkeys = later("list add rename remove", (all) => all.passkeys);
  return { ...later(`${MAILED} ${OWN} ${PROVIDERS} ${FACTORS}`, (all) => all), passkeys };
}

/** Return a transport for sessions that are bound to a key. It works from the first moment on, and loads what it needs. */
export function dpopTransport(url: string): Transport {
  const lent = { post, errorOf, HandstampError, OfflineError };
  let opening: Promise<void> | undefined;
  const open = (): Promise<void> =>
    (opening ??= load("dpop").then(({ takeOver }) => takeOver(transport, url, lent)).catch((error) => {
      opening = undefined;
      throw error;
    }));
  const transport: Transport & { isSigningOut: boolean } = {
    isUsable: true,
    isShared: true,
    delivery: "json",
    ticket: undefined,
    isSigningOut: false,
    load: () => open().catch(() => {}),
    beginSignOut() {
      transport.isSigningOut = true;
    },
    finishSignOut() {},
    forget() {},
    send: async (...request) => {
      await open();
      return transport.send(...request);
    },
    explain: async () => undefined,
  };
  return transport;
}

/** Load a module. A browser that failed tries again with the next call. Throws `OfflineError`. */
export const load = <Name extends keyof typeof MODULES>(name: Name): ReturnType<(typeof MODULES)[Name]> =>
  MODULES[name]().catch((error) => {
    throw new OfflineError("A part of this client cannot be loaded. Load the page again.", { cause: error });
  }) as ReturnType<(typeof MODULES)[Name]>;

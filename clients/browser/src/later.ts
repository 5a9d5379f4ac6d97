import type { Requests } from "./account.js";
import { OfflineError } from "./errors.js";
import type { AccountMethods } from "./types.js";

/** What is loaded when it is first used. Each module imports types alone, and is given what it needs. */
const MODULES = {
  account: () => import("./account.js"),
};

const METHODS: Record<keyof AccountMethods, 1> = {
  register: 1, confirmRegistration: 1, requestVerification: 1, verifyEmail: 1, requestCode: 1, signInWithCode: 1, requestPasswordReset: 1,
  resetPassword: 1, changePassword: 1, changeName: 1, requestEmailChange: 1, changeEmail: 1, undoEmailChange: 1, exportData: 1,
  deleteAccount: 1,
};

/** Return the methods for accounts. The first call loads them. */
export function accountMethods(requests: Requests): AccountMethods {
  let methods: AccountMethods;
  const later = (name: keyof AccountMethods) => async (...args: unknown[]) => {
    const module = await load("account");
    methods ??= module.accountMethods(requests);
    return (methods[name] as (...args: unknown[]) => unknown)(...args);
  };
  const names = Object.keys(METHODS) as (keyof AccountMethods)[];
  return Object.fromEntries(names.map((name) => [name, later(name)])) as unknown as AccountMethods;
}

/** Load a module. A browser that failed tries again with the next call. Throws `OfflineError`. */
export const load = <Name extends keyof typeof MODULES>(name: Name): ReturnType<(typeof MODULES)[Name]> =>
  MODULES[name]().catch((error) => {
    throw new OfflineError("A part of this client cannot be loaded. If the service was updated, load the page again.", { cause: error });
  }) as ReturnType<(typeof MODULES)[Name]>;

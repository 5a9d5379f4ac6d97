import { shown } from "./factors.js";
import type { Requests } from "./methods.js";
import type { LateMethods, NewPasskey, Passkey } from "./types.js";
import { browser, perform } from "./webauthn.js";

/** What a ceremony begins with. The ticket is for clients without cookies. */
interface Ceremony {
  readonly challenge: string;
  readonly ticket?: string;
  readonly options: object;
  readonly expiresIn?: number;
}

interface Listed {
  readonly passkeys: Passkey[];
  /** What to tell the browser's password manager: methods of `PublicKeyCredential`, and what to call them with. */
  readonly signals?: { readonly method: string; readonly options: object }[];
}

interface SigningOptions {
  /** Which sign-in it is for. */
  readonly about?: object;
  readonly headers?: Record<string, string>;
  readonly conditional?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** A ceremony that waits in a field is begun anew before its challenge expires. */
const LONGEST_WAIT_MS = 240_000;
/** Browsers name what has happened. */
const CODES: Record<string, [code: string, message: string]> = {
  NotAllowedError: ["passkey_cancelled", "No passkey was used. Try again, or choose another way."],
  AbortError: ["passkey_cancelled", "No passkey was used, because the page has gone on to something else."],
  InvalidStateError: ["passkey_exists", "This device has a passkey of the account already."],
  NotSupportedError: ["passkey_unsupported", "This device cannot do what the passkey needs."],
  SecurityError: ["passkey_unsupported", "Passkeys of the service cannot be used on this page."],
};

/** Let the person sign with a passkey, and return what the service wants to see. */
export async function signWithPasskey(requests: Requests, name: string, options: SigningOptions): Promise<object> {
  const { about = {}, headers, conditional = false, signal } = options;
  for (;;) {
    const ceremony = await requests.call<Ceremony>("/login/passkey/options", about, headers);
    const wait = new AbortController();
    const timer = setTimeout(() => wait.abort(), LONGEST_WAIT_MS);
    const abort = (): void => wait.abort(signal?.reason);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    try {
      const passkey = await run(requests, "get", ceremony.options, conditional, wait.signal);
      return { [name]: ceremony.challenge, passkey, ...(ceremony.ticket ? { ticket: ceremony.ticket } : {}) };
    } catch (error) {
      const isExpired = wait.signal.aborted && !signal?.aborted;
      if (!conditional || !isExpired) throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }
}

/** Run a ceremony. Errors of the browser become errors of the client. */
async function run(requests: Requests, ...[kind, options, conditional, signal]: Parameters<typeof perform>): Promise<unknown> {
  if (!browser()) throw requests.fail("passkey_unsupported", "This browser has no passkeys, or the page was not loaded by https.");
  try {
    return await perform(kind, options, conditional, signal);
  } catch (error) {
    const [code, message] = CODES[(error as Error).name] ?? [];
    throw code ? Object.assign(requests.fail(code, message ?? ""), { cause: error }) : error;
  }
}

/** Return the methods for passkeys. */
export function passkeyMethods(requests: Requests): Pick<LateMethods, "passkeys" | "signInWithPasskey"> {
  const { transport, call, callSignedIn, begin } = requests;

  /** Return the passkeys, and tell the browser which ones the service accepts, so that it offers no others. */
  const list = async (): Promise<Passkey[]> => {
    const { passkeys, signals = [] } = await callSignedIn<Listed>("/passkeys", "GET");
    const known = browser() as unknown as Record<string, ((options: object) => Promise<void>) | undefined> | undefined;
    for (const { method, options } of signals) known?.[method]?.(options)?.catch(() => {});
    return passkeys;
  };
  /** The change has been made, whether the list can be read or not. */
  const afterwards = <T>(value: T): Promise<T> => list().then(() => value, () => value);

  const add = async ({ name, conditional = false, signal, needed }: NewPasskey = {}): Promise<Passkey> => {
    const send = <T>(path: string, body: object): Promise<T> =>
      needed ? call<T>(path, { ...body, ...shown(needed) }) : callSignedIn<T>(path, "POST", body);
    const ceremony = await send<Ceremony>("/passkeys/options", conditional ? { conditional } : {});
    const passkey = await run(requests, "create", ceremony.options, conditional, signal);
    const named = { ...(name ? { name } : {}), ...(conditional ? { conditional } : {}) };
    const made = await send<Passkey>("/passkeys", { passkeyChallenge: ceremony.challenge, passkey, ...named });
    return needed ? made : afterwards(made);
  };

  return {
    signInWithPasskey: async ({ conditional = false, signal } = {}) => {
      const signed = await signWithPasskey(requests, "challenge", { conditional, signal });
      return begin("/login/passkey", { ...signed, delivery: transport.delivery });
    },
    passkeys: {
      list,
      add,
      rename: async (id, name) => afterwards(await callSignedIn<Passkey>(`/passkeys/${id}`, "PATCH", { name })),
      remove: async (id) => afterwards(await callSignedIn<void>(`/passkeys/${id}`, "DELETE")),
    },
  };
}

import { repeatable, shown } from "./factors.js";
import type { Requests } from "./methods.js";
import type { LateMethods, NewPasskey, Passkey, SignIn } from "./types.js";
import { browser, perform } from "./webauthn.js";

/** What a ceremony begins with. The ticket is for clients without cookies. */
interface Ceremony {
  readonly challenge: string;
  readonly publicKey: { readonly rpId?: string };
  readonly expiresIn: number;
  readonly ticket?: string;
}

/** The passkeys of the account, and what the browser's password manager wants to know about it. */
interface Listed {
  readonly passkeys: Passkey[];
  readonly rpId: string;
  readonly userId: string;
  readonly allAcceptedCredentialIds: string[];
  readonly name: string;
  readonly displayName: string;
}

interface SigningOptions {
  /** Which sign-in it is for. */
  readonly about?: object;
  readonly headers?: Record<string, string>;
  readonly conditional?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** A ceremony that waits in a field is begun anew after this part of the life of its challenge. */
const WAIT = 0.8;
/** Browsers name what has happened. */
const CODES: Record<string, [code: string, message: string]> = {
  NotAllowedError: ["passkey_cancelled", "No passkey was used. Try again, or choose another way."],
  AbortError: ["passkey_cancelled", "No passkey was used, because the page has gone on to something else."],
  InvalidStateError: ["passkey_exists", "This device has a passkey of the account already."],
  NotSupportedError: ["passkey_unsupported", "This device cannot do what the passkey needs."],
  SecurityError: ["passkey_unsupported", "Passkeys of the service cannot be used on this page."],
};

/**
 * Let the person sign with a passkey, and send what the service wants to see. If the service does not know the passkey, the browser
 * is told, so that it offers it no more.
 */
export async function signWithPasskey<T>(
  requests: Requests,
  options: SigningOptions,
  send: (signed: { challenge: string; passkey: unknown; ticket?: string }) => Promise<T>,
): Promise<T> {
  const { about = {}, headers, conditional = false, signal } = options;
  for (;;) {
    const ceremony = await requests.call<Ceremony>("/login/passkey/options", about, headers);
    const wait = new AbortController();
    const timer = setTimeout(() => wait.abort(), 1000 * WAIT * ceremony.expiresIn);
    const abort = (): void => wait.abort(signal?.reason);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    let passkey: unknown;
    try {
      passkey = await run(requests, "get", ceremony.publicKey, conditional, wait.signal);
    } catch (error) {
      const isExpired = wait.signal.aborted && !signal?.aborted;
      if (conditional && isExpired) continue;
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
    const { challenge, ticket } = ceremony;
    return send({ challenge, passkey, ...(ticket ? { ticket } : {}) }).catch(async (error) => {
      const details = { rpId: ceremony.publicKey.rpId, credentialId: (passkey as { id: string }).id };
      if (error.code === "unknown_passkey") await browser()?.signalUnknownCredential?.(details).catch(() => {});
      throw error;
    });
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
  const { transport, call, callTwice, callSignedIn, begin } = requests;
  /** Tell the browser which passkeys the service accepts, so that it offers no others. */
  const tell = async (listed: Listed): Promise<void> => {
    const { rpId, userId, name, displayName, allAcceptedCredentialIds } = listed;
    await browser()?.signalAllAcceptedCredentials?.({ rpId, userId, allAcceptedCredentialIds }).catch(() => {});
    await browser()?.signalCurrentUserDetails?.({ rpId, userId, name, displayName }).catch(() => {});
  };

  const list = async (): Promise<Passkey[]> => {
    const listed = await callSignedIn<Listed>("/passkeys", "GET");
    await tell(listed);
    return listed.passkeys;
  };

  const add = async ({ name, conditional = false, signal, needed }: NewPasskey = {}): ReturnType<LateMethods["passkeys"]["add"]> => {
    const about = needed ? shown(needed) : {};
    const ceremony = needed
      ? await call<Ceremony>("/passkeys/options", about)
      : await callSignedIn<Ceremony>("/passkeys/options", "POST", about);
    const passkey = await run(requests, "create", ceremony.publicKey, conditional, signal);
    const ticket = ceremony.ticket ? { ticket: ceremony.ticket } : {};
    const body = { ...about, ...ticket, passkeyChallenge: ceremony.challenge, passkey, conditional, ...(name ? { name } : {}) };
    type Added = Listed & { id: string; recoveryCodes: string[] };
    const added = await (needed ? callTwice<Added>("/passkeys", body) : repeatable<Added>(requests, "/passkeys", body));
    await tell(added);
    const made = added.passkeys.find(({ id }) => id === added.id) as Passkey;
    return { ...made, recoveryCodes: added.recoveryCodes };
  };

  return {
    signInWithPasskey: ({ conditional = false, signal } = {}) =>
      signWithPasskey<SignIn>(requests, { conditional, signal }, (signed) =>
        begin("/login/passkey", { ...signed, delivery: transport.delivery }),
      ),
    passkeys: {
      list,
      add,
      rename: async (id, name) => {
        const renamed = await callSignedIn<Passkey>(`/passkeys/${id}`, "PATCH", { name });
        await list().catch(() => {}); // the change has been made, whether the list can be read or not
        return renamed;
      },
      remove: async (id) => tell(await callSignedIn<Listed>(`/passkeys/${id}`, "DELETE")),
    },
  };
}

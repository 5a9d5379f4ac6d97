/** Ceremonies of WebAuthn Level 3: the browser's own conversions between JSON and buffers, or ours where it has none. */

type Json = Record<string, unknown>;
interface Credential {
  readonly id: string;
  readonly type: string;
  readonly rawId: ArrayBuffer;
  readonly authenticatorAttachment?: string | null;
  readonly response: object;
  getClientExtensionResults(): object;
  toJSON?(): unknown;
}

/** What `PublicKeyCredential` may have. Every method may be missing in a browser that has passkeys. */
export interface Passkeys {
  isConditionalMediationAvailable?(): Promise<boolean>;
  getClientCapabilities?(): Promise<Record<string, boolean>>;
  parseCreationOptionsFromJSON?(options: unknown): object;
  parseRequestOptionsFromJSON?(options: unknown): object;
  signalAllAcceptedCredentials?(details: object): Promise<void>;
  signalCurrentUserDetails?(details: object): Promise<void>;
  signalUnknownCredential?(details: object): Promise<void>;
}

/** The browser runs one ceremony at a time. One that offers passkeys in a field would make every other one fail. */
let ongoing: AbortController | undefined;

export const browser = (): Passkeys | undefined => (globalThis as { PublicKeyCredential?: Passkeys }).PublicKeyCredential;

/**
 * Create a passkey, or sign with one, and return it as JSON. A ceremony in progress is aborted first.
 *
 * Throws the browser's `DOMException`: `NotAllowedError` if the person cancels, `AbortError`, `InvalidStateError` if the device has a
 * passkey of the account.
 */
export async function perform(kind: "create" | "get", options: unknown, isConditional = false, signal?: AbortSignal): Promise<unknown> {
  ongoing?.abort(new DOMException("Another ceremony has begun.", "AbortError"));
  const current = (ongoing = new AbortController());
  const abort = (): void => current.abort(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  try {
    const publicKey = parse(kind, options as Json);
    const request = { publicKey, signal: current.signal, ...(isConditional ? { mediation: "conditional" } : {}) };
    const { credentials } = navigator as unknown as { credentials: Record<typeof kind, (request: object) => Promise<Credential>> };
    return write(await credentials[kind](request));
  } finally {
    signal?.removeEventListener("abort", abort);
    if (ongoing === current) ongoing = undefined;
  }
}

function parse(kind: "create" | "get", options: Json): object {
  const parsed = kind === "create" ? browser()?.parseCreationOptionsFromJSON?.(options) : browser()?.parseRequestOptionsFromJSON?.(options);
  if (parsed) return parsed;
  const user = options.user as Json | undefined;
  const named = (list: unknown): unknown => (list as Json[] | undefined)?.map((each) => ({ ...each, id: bytes(each.id) }));
  return {
    ...options,
    challenge: bytes(options.challenge),
    ...(user && { user: { ...user, id: bytes(user.id) } }),
    ...(options.allowCredentials ? { allowCredentials: named(options.allowCredentials) } : {}),
    ...(options.excludeCredentials ? { excludeCredentials: named(options.excludeCredentials) } : {}),
  };
}

/** Return a credential as JSON. Managers of passwords hand out objects whose `toJSON` is missing or throws. */
function write(credential: Credential): unknown {
  try {
    if (credential.toJSON) return credential.toJSON();
  } catch {
    // not the browser's own object
  }
  const { id, type, rawId, authenticatorAttachment, response } = credential;
  const texts: Json = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    const value = (response as Json)[name];
    if (value) texts[name] = text(value as ArrayBuffer);
  }
  const transports = (response as { getTransports?(): string[] }).getTransports?.();
  return {
    id,
    type,
    rawId: text(rawId),
    ...(authenticatorAttachment ? { authenticatorAttachment } : {}),
    response: { ...texts, ...(transports ? { transports } : {}) },
    clientExtensionResults: credential.getClientExtensionResults(),
  };
}

const bytes = (base64url: unknown): Uint8Array =>
  Uint8Array.from(atob(String(base64url).replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));

const text = (buffer: ArrayBuffer): string =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

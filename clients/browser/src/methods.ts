import type { EndReason, HandstampError } from "./errors.js";
import { factorMethods } from "./factors.js";
import { mailMethods } from "./mails.js";
import { passkeyMethods } from "./passkeys.js";
import { providerMethods } from "./providers.js";
import { StepUps } from "./stepup.js";
import type { Transport } from "./transport.js";
import type { Client, LateMethods, Options, SignIn } from "./types.js";

/** What a client lends to the modules that it loads. */
export interface Requests {
  readonly url: string;
  readonly transport: Transport;
  readonly onStepUp: Options["onStepUp"];
  /** Another tab has proved that it is the person. */
  onOtherStepUp?: () => void;
  readonly onChange: Client["onChange"];
  readonly getState: Client["getState"];
  /** Send a POST with the cookies. */
  readonly call: <T>(path: string, body: object, headers?: Record<string, string>) => Promise<T>;
  /** The same. If the answer is lost the request is sent once more, and carried out once. */
  readonly callTwice: <T>(path: string, body: object) => Promise<T>;
  /** Send a request with the access token, and return what it answers. */
  readonly callSignedIn: <T>(
    path: string,
    method: "GET" | "POST" | "PATCH" | "DELETE",
    body?: object,
    headers?: Record<string, string>,
    read?: "json" | "blob",
  ) => Promise<T>;
  /** Return a new idempotency key, if there is a source of random numbers. */
  readonly key: () => string | undefined;
  /** Send a request that begins a session, or asks for another step. */
  readonly begin: (path: string, body: object, headers?: Record<string, string>) => Promise<SignIn>;
  /** Throw `TypeError` unless an origin may get the access token. */
  readonly requireKnown: (origin: string) => void;
  /** Return the access token, as a header. It is renewed first if that is due. */
  readonly authorization: () => Promise<{ Authorization: string }>;
  /** Get a token that says what the service knows now. */
  readonly renew: () => Promise<void>;
  /** Tell other tabs that the person has proved that it is them. */
  readonly tellStepUp: () => void;
  /** Remember that the account's sessions have ended, this one too. */
  readonly end: (reason?: EndReason) => void;
  /** Return an error of the browser's as one of the client's. */
  readonly fail: (code: string, message: string) => HandstampError;
}

const stepUps = new WeakMap<Requests, StepUps>();

function stepUpsOf(requests: Requests): StepUps {
  let found = stepUps.get(requests);
  if (!found) stepUps.set(requests, (found = new StepUps(requests)));
  return found;
}

/** Ask the person for the proof that a response wants. Returns whether the request may be sent again. */
export const askAgain = (requests: Requests, ...refused: Parameters<StepUps["ask"]>): Promise<boolean> =>
  stepUpsOf(requests).ask(...refused);

/** Return the methods that are loaded when one of them is first used. */
export const lateMethods = (requests: Requests): LateMethods => ({
  ...mailMethods(requests),
  ...factorMethods(requests),
  ...passkeyMethods(requests),
  ...providerMethods(requests),
  stepUp: (proof) => stepUpsOf(requests).stepUp(proof),
  webSocket: async (url, protocols = []) => {
    if (requests.transport.fetch) throw new TypeError("A WebSocket cannot prove the key of a session that is bound with DPoP.");
    const target = new URL(url, globalThis.location?.href);
    target.protocol = target.protocol.replace(/^http/, "ws");
    requests.requireKnown(target.origin.replace(/^ws/, "http"));
    // A script does not learn why a WebSocket was refused, so no second attempt can follow a renewal.
    const { Authorization } = await requests.authorization();
    return new WebSocket(target.href, ["handstamp", `handstamp.token.${Authorization.replace("Bearer ", "")}`, ...[protocols].flat()]);
  },
});

/** Return why a service that can be reached refuses this page. A browser hides answers that are not meant for the page's origin. */
export async function explainRefusal(url: string): Promise<string | undefined> {
  const answer = await fetch(`${url}/.well-known/jwks.json`); // anyone may read it
  if (!answer.ok) return undefined;
  const origin = globalThis.location?.origin;
  return `${url} can be reached, but its answer to /refresh cannot be used here. Is ${origin} one of its HANDSTAMP_TRUSTED_ORIGINS?`;
}

import type { errorOf, HandstampError, OfflineError } from "./errors.js";
import { type Bound, openKeep } from "./keep.js";
import { prove } from "./proof.js";
import type { post } from "./requests.js";
import type { Transport } from "./transport.js";

/** What the core lends, so that this module needs no second copy of it. */
export interface Lent {
  readonly post: typeof post;
  readonly errorOf: typeof errorOf;
  readonly HandstampError: typeof HandstampError;
  readonly OfflineError: typeof OfflineError;
}

interface Answer {
  accessToken?: string;
  refreshToken?: string;
  tokenType?: string;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" };
const NOT_BOUND = "The service has not bound the session to this browser's key. Update it, or create the client without `dpop`.";
const NEEDS_HTTPS = "DPoP needs WebCrypto, which browsers have on https:// and on localhost alone.";
/** A proof of ours is accepted although clocks differ by less than this. */
const CLOCK_TOLERANCE_MS = 60_000;

/**
 * Make a transport one whose sessions are bound to a key that no script can read (RFC 9449). The key and the refresh token are in
 * the browser's IndexedDB, for all tabs of the origin. A copy of the token is worthless without the key.
 */
export async function takeOver(transport: Transport & { isSigningOut: boolean }, url: string, lent: Lent): Promise<void> {
  const { post, errorOf, HandstampError } = lent;
  const { read, change } = openKeep(url);
  /** The latest nonce of each origin (RFC 9449 §8). */
  const nonces = new Map<string, string>();
  /** The service's clock minus the device's. */
  let offsetMs = 0;
  /** The key of the access token of this page, and the one for a sign-in that is under way. */
  let keys: CryptoKeyPair | undefined;
  let newKeys: Promise<CryptoKeyPair> | undefined;
  /** The refresh token that this page has sent or got last. */
  let latest: string | undefined;

  const makeKeys = async (): Promise<CryptoKeyPair> => {
    if (!globalThis.crypto?.subtle) throw new TypeError(NEEDS_HTTPS);
    return (await crypto.subtle.generateKey(ALGORITHM, false, ["sign"])) as CryptoKeyPair;
  };

  /** Send a request with a proof. If the server wants a nonce, or our clock was wrong, send it once more (RFC 9449 §8, §9). */
  const sendProved = async (pair: CryptoKeyPair, request: Request, accessToken?: string): Promise<Response> => {
    const { origin } = new URL(request.url);
    for (let isFirst = true; ; isFirst = false) {
      const copy = request.clone();
      const [nonce, offset] = [nonces.get(origin), offsetMs];
      copy.headers.set("DPoP", await prove(pair, { method: copy.method, url: copy.url, nowMs: Date.now() + offset, nonce, accessToken }));
      const response = await fetch(copy);
      nonces.set(origin, response.headers.get("DPoP-Nonce") ?? nonce ?? "");
      if (request.url.startsWith(`${url}/`)) readClock(response.headers.get("Date"));
      const hasNews = nonces.get(origin) !== (nonce ?? "") || Math.abs(offsetMs - offset) > CLOCK_TOLERANCE_MS;
      if (response.ok || !isFirst || !hasNews || !(await isProofRefused(response))) return response;
    }
  };

  const isProofRefused = async (response: Response): Promise<boolean> => {
    if (response.status !== 400 && response.status !== 401) return false;
    const names = ["use_dpop_nonce", "invalid_dpop_proof"];
    const challenge = response.headers.get("WWW-Authenticate") ?? "";
    return names.some((name) => challenge.includes(`"${name}"`)) || names.includes((await errorOf(response.clone())).code);
  };

  const readClock = (date: string | number | null): void => {
    const ms = new Date(date ?? NaN).getTime();
    if (ms) offsetMs = ms - Date.now();
  };

  const postProved = <T>(pair: CryptoKeyPair, path: string, body?: object, headers: Record<string, string> = {}): Promise<T> => {
    const accessToken = headers.Authorization?.replace("Bearer ", "");
    const own = accessToken ? { ...headers, Authorization: `DPoP ${accessToken}` } : headers;
    // Cookies, as of a sign-in at the service's pages, would make a token in the body ambiguous.
    const credentials = path === "/refresh" || path === "/logout" ? "omit" : "include";
    return post<T>(url + path, body, own, credentials, (target, init) => sendProved(pair, new Request(target, init), accessToken));
  };

  const refresh = async (headers?: Record<string, string>): Promise<Answer> => {
    const { current } = await read();
    if (!current) throw new HandstampError("missing_token", 401, "No user is signed in.");
    latest = current.token;
    const answer = await postProved<Answer>(current.keys, "/refresh", { refreshToken: current.token }, headers);
    const token = answer.refreshToken ?? current.token;
    await change((kept) => (kept.current?.token === current.token ? { ...kept, current: { keys: current.keys, token } } : kept));
    return take(answer, current.keys, token);
  };

  const take = (answer: Answer, pair: CryptoKeyPair, token: string): Answer => {
    if (answer.tokenType !== "DPoP") throw new TypeError(NOT_BOUND);
    keys = pair;
    latest = token;
    readClock(issuedAtMs(answer.accessToken));
    return answer;
  };

  /** Let the session be signed out. */
  const endCurrent = (): Promise<unknown> => change(({ current, ending }) => ({ ending: current ? [...ending, current] : ending }));

  const signOut = async (): Promise<void> => {
    await ended;
    for (const each of (await read()).ending) {
      await postProved(each.keys, "/logout", { refreshToken: each.token });
      await change((kept) => ({ ...kept, ending: kept.ending.filter(({ token }) => token !== each.token) }));
    }
  };

  let ended: Promise<unknown> = Promise.resolve();
  const real: Partial<Transport> = {
    load: () => undefined,
    beginSignOut() {
      transport.isSigningOut = true;
      ended = endCurrent();
    },
    finishSignOut() {
      transport.isSigningOut = false;
      signOut().catch(() => {}); // sessions that a sign-in has replaced. The next sign-out tries again
    },
    forget() {
      change((kept) => (kept.current?.token === latest ? { ending: kept.ending } : kept)); // otherwise another tab has signed in
    },
    async send<T>(path: string, body?: object, headers?: Record<string, string>): Promise<T> {
      if (path === "/logout") return (await signOut()) as T;
      if (path === "/refresh") return (await refresh(headers)) as T;
      const isOwn = headers?.Authorization !== undefined;
      const pair = (isOwn && keys) || (await (newKeys ??= makeKeys()));
      const answer = await postProved<T & Answer>(pair, path, body, headers);
      if (!answer?.refreshToken) return answer;
      const current: Bound = { keys: pair, token: answer.refreshToken };
      newKeys = undefined;
      await change((kept) => ({ current, ending: kept.current ? [...kept.ending, kept.current] : kept.ending }));
      return take(answer, pair, current.token) as T & Answer;
    },
    async fetch(request) {
      const accessToken = request.headers.get("Authorization")?.replace("Bearer ", "") ?? "";
      if (!keys) return fetch(request);
      request.headers.set("Authorization", `DPoP ${accessToken}`);
      return sendProved(keys, request, accessToken);
    },
  };
  const { current, ending } = await read();
  Object.assign(transport, real);
  if (transport.isSigningOut) transport.beginSignOut(); // signOut() was called before this was loaded
  else transport.isSigningOut = !current && ending.length > 0;
}

/** Return when an access token was issued, by the service's clock. */
function issuedAtMs(token = ""): number {
  try {
    return 1000 * JSON.parse(atob((token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/"))).iat;
  } catch {
    return NaN;
  }
}

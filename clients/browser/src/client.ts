/// <reference lib="esnext.disposable" preserve="true" />
import { PendingSignOut } from "./pending.js";
import { type EndReason, errorOf, HandstampError, OfflineError } from "./errors.js";
import { insist, LONGEST_PAUSE_MS, pauseMs, post, TRIES, unlessAborted } from "./requests.js";
import { type Message, Tabs, unref } from "./tabs.js";

/** The sign-in state of this browser. */
export type State =
  /** The service has not answered yet. `online: false`: it could not be reached. `problem` is for developers to mend. */
  | { readonly status: "unknown"; readonly online: boolean; readonly problem?: string }
  /** Signed in. `online: false`: the client cannot renew the token at the moment; the session is still active. */
  | { readonly status: "signed-in"; readonly online: boolean; readonly problem?: string; readonly sessionId: string }
  /** Signed out. `reason` is set if a session was ended. */
  | { readonly status: "signed-out"; readonly reason?: EndReason };

export interface Options {
  /** The public URL of the service, such as `https://auth.example.com`. */
  url: string;
  /** Other origins to which `fetch` and `webSocket` may send the access token, such as `https://api.example.com`. */
  apis?: readonly string[];
}

/** The account that is signed in: the response of `GET /profile`. */
export interface Profile {
  id: string;
  email: string;
  emailVerified: boolean;
  roles: string[];
  createdAt: string;
  session: { id: string; createdAt: string; authenticatedAt: string; expiresAt: string };
}

/** All methods may be handed on by themselves: `const { fetch } = auth`. */
export interface Client extends Disposable {
  /** The current state. It is a new object after each change, and the same one until then. */
  readonly state: State;
  /** Return the current state. */
  readonly getState: () => State;
  /** Call `listener` with each new state. Returns a function that removes the listener. */
  readonly onChange: (listener: (state: State) => void) => () => void;
  /** Sign in. Rejects with `HandstampError` (`invalid_credentials`, `too_many_attempts` …) or `OfflineError`. */
  readonly signIn: (email: string, password: string) => Promise<void>;
  /**
   * Sign out at once in all tabs. Resolves when the service has ended the session. Rejects with `OfflineError` if the service
   * cannot be reached. The request is repeated when the network is back or the page is loaded again; this browser stays signed
   * out meanwhile.
   */
  readonly signOut: () => Promise<void>;
  /** End every session of the account. Rejects, and changes nothing, if the service cannot be reached. */
  readonly signOutEverywhere: () => Promise<void>;
  /** Return the account that is signed in. */
  readonly profile: () => Promise<Profile>;
  /**
   * The browser's `fetch` with the access token, which is renewed when necessary. Throws `TypeError` for an origin that may not
   * get the token, `HandstampError` (`session_ended`, `missing_token`) without a session, `OfflineError`, and the reason of an
   * aborted signal.
   */
  readonly fetch: (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;
  /**
   * Open a WebSocket with the access token. The token is one of the offered subprotocols, so it is in no URL and no log. The
   * server selects one of `protocols`, or `handstamp`. Rejects as `fetch` does.
   */
  readonly webSocket: (url: string | URL, protocols?: string | readonly string[]) => Promise<WebSocket>;
  /** Stop: no more timers, messages or renewals. The session is not ended. */
  readonly close: () => void;
}

interface TokenAnswer {
  accessToken: string;
  expiresIn: number;
  sessionId: string;
}

/** A request that was sent with an access token, and its answer. */
interface Sent {
  response: Response;
  origin: string;
  token: string;
  session: string;
}

/** Every token lives longer than this. If a newer one is refused, renewing will not help: a clock is wrong, or a key missing. */
const NEW_MS = 10_000;
const SAFE_METHODS = ["GET", "HEAD"];
const NO_BROWSER =
  "There is no browser here to keep the session's cookie. A server that renders pages for many visitors must not sign in for them.";

/** Return a client. It asks the service whether the cookie belongs to a session; `onChange` reports it. Make one per page. */
export function createClient(options: Options): Client {
  return new Session(options);
}

class Session implements Client {
  #state: State = { status: "unknown", online: true };
  /** The only copy of the access token. Its times are monotonic, because the device's clock may be wrong. */
  #access: { token: string; gotAt: number; renewAt: number } | undefined;
  /** Counts sign-ins and sign-outs. A response to a request from before the latest one is dropped. */
  #epoch = 0;
  #renewing: Promise<void> | undefined;
  #signingIn: Promise<unknown> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #isClosed = false;
  readonly #url: string;
  readonly #apis: ReadonlySet<string>;
  /** APIs that refused a new token after a renewal: their clock or keys are wrong, and renewing does not help. */
  readonly #refusing = new Set<string>();
  readonly #tabs: Tabs;
  readonly #pending: PendingSignOut;
  readonly #listeners = new Set<(state: State) => void>();
  readonly #closing = new AbortController();

  constructor({ url, apis = [] }: Options) {
    this.#url = new URL(url, globalThis.location?.href).href.replace(/\/+$/, "");
    this.#apis = new Set([this.#url, ...apis].map((each) => new URL(each).origin));
    this.#pending = new PendingSignOut(this.#url);
    this.#tabs = new Tabs(this.#url, (message) => this.#hear(message));
    if (typeof Symbol.dispose === "symbol") Object.defineProperty(this, Symbol.dispose, { value: this.close });
    if (!isBrowser()) return;
    // Timers may be late after sleep, in a hidden tab, or when the network is back.
    const options = { signal: this.#closing.signal };
    const wake = (): void => this.#wake();
    for (const event of ["online", "focus"]) globalThis.addEventListener?.(event, wake, options);
    // A page from the back/forward cache has missed the messages of other tabs.
    globalThis.addEventListener?.("pageshow", ({ persisted }) => (persisted ? this.#start() : wake()), options);
    globalThis.document?.addEventListener("visibilitychange", wake, options);
    this.#start();
  }

  declare readonly [Symbol.dispose]: () => void;

  #start(): void {
    this.#pending.reload();
    if (this.#pending.exists) this.#finishSignOut().catch(() => {});
    else this.#askAgain();
  }

  get state(): State {
    return this.#state;
  }

  readonly getState = (): State => this.#state;

  readonly onChange = (listener: (state: State) => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly close = (): void => {
    this.#isClosed = true;
    this.#epoch += 1;
    this.#access = undefined;
    clearTimeout(this.#timer);
    this.#closing.abort();
    this.#tabs.close();
    this.#listeners.clear();
  };

  readonly signIn = async (email: string, password: string): Promise<void> => {
    const epoch = ++this.#epoch;
    const asking = this.#askToSignIn(email, password);
    this.#signingIn = asking;
    const answer = await asking;
    if (this.#signingIn === asking) this.#signingIn = undefined;
    if (this.#pending.exists && epoch !== this.#epoch) throw this.#signedOut(); // signOut() ends the new session too
    this.#pending.clear(); // the service has ended the session of the previous cookie
    if (epoch === this.#epoch) this.#take(answer);
    else this.#askAgain(); // another sign-in, here or in another tab, may have set its cookie later
    this.#tabs.tell({ type: "signed-in", session: answer.sessionId });
  };

  /** If the answer is lost, ask once more. The key keeps the service from beginning a second session. */
  #askToSignIn(email: string, password: string): Promise<TokenAnswer> {
    const headers = { "Idempotency-Key": randomKey() };
    const ask = (): Promise<TokenAnswer> => this.#call("/login", { email, password, delivery: "split" }, headers);
    return ask().catch((error) => {
      if (error instanceof OfflineError) return ask();
      throw error;
    });
  }

  readonly signOut = async (): Promise<void> => {
    this.#pending.begin();
    this.#endEverywhere("logout");
    this.#pending.begin(); // a listener may have cleared the storage
    await this.#finishSignOut();
  };

  readonly signOutEverywhere = async (): Promise<void> => {
    const response = await this.fetch(`${this.#url}/logout-everywhere`, { method: "POST", credentials: "include" });
    if (!response.ok) throw await errorOf(response);
    this.#endEverywhere("logout_everywhere");
  };

  readonly profile = async (): Promise<Profile> => {
    const response = await this.fetch(`${this.#url}/profile`);
    if (!response.ok) throw await errorOf(response);
    return response.json();
  };

  readonly fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const { origin } = new URL(request.url);
    this.#requireKnown(origin);
    const send = async (): Promise<Sent> => {
      const token = await unlessAborted(request.signal, this.#token());
      const session = this.#sessionId;
      const copy = request.clone();
      copy.headers.set("Authorization", `Bearer ${token}`);
      return { response: await fetch(copy), origin, token, session };
    };
    const first = await send();
    if (!(await this.#mustRenew(first))) return first.response;
    if (this.#access?.token === first.token) await unlessAborted(request.signal, this.#renew());
    // The first hop of a redirect has been carried out. Sending it again could carry it out twice.
    if (first.response.redirected && !SAFE_METHODS.includes(request.method)) return first.response;
    const { response } = await send();
    if (response.status === 401) this.#refusing.add(origin);
    return response;
  };

  readonly webSocket = async (url: string | URL, protocols: string | readonly string[] = []): Promise<WebSocket> => {
    const target = new URL(url, globalThis.location?.href);
    target.protocol = target.protocol.replace(/^http/, "ws");
    this.#requireKnown(target.origin.replace(/^ws/, "http"));
    return new WebSocket(target, ["handstamp", `handstamp.token.${await this.#token()}`, ...[protocols].flat()]);
  };

  #requireKnown(origin: string): void {
    if (this.#apis.has(origin)) return;
    const fix = `If you trust it, add it: createClient({ apis: ["${origin}"] }).`;
    throw new TypeError(`${origin} may not get the access token. ${fix}`);
  }

  /** Return whether a response says that its token has expired or its key was declared void, and a newer token may help. */
  async #mustRenew({ response, origin, token, session }: Sent): Promise<boolean> {
    if (response.status !== 401) {
      this.#refusing.delete(origin);
      return false;
    }
    const { code, reason } = await errorOf(response.clone());
    if (code === "session_ended" && session === this.#sessionId) this.#endEverywhere(reason);
    if (code !== "expired_token" && code !== "invalid_token") return false;
    if (this.#access?.token !== token) return true;
    const now = performance.now();
    return now >= (this.#refusing.has(origin) ? this.#access.renewAt : this.#access.gotAt + NEW_MS);
  }

  get #sessionId(): string {
    return this.#state.status === "signed-in" ? this.#state.sessionId : "";
  }

  /** Return the access token. Renew first if there is none, and in the background if it is due. */
  async #token(): Promise<string> {
    for (;;) {
      if (this.#isClosed) throw new TypeError("This client was closed.");
      if (this.#state.status === "signed-out") throw this.#signedOut();
      if (this.#access) break;
      await this.#renew(); // then check again: a sign-in or sign-out may have happened meanwhile
    }
    this.#wake();
    return this.#access.token;
  }

  #signedOut(): HandstampError {
    const reason = this.#state.status === "signed-out" ? this.#state.reason : undefined;
    return new HandstampError(reason ? "session_ended" : "missing_token", 401, "No user is signed in.", reason);
  }

  /** Do what is due: renew the token, or tell the service of a sign-out. */
  #wake(): void {
    if (this.#isClosed) return;
    if (this.#state.status === "signed-out") {
      if (this.#pending.exists) this.#finishSignOut().catch(() => {});
      return;
    }
    const waitMs = this.#access ? this.#access.renewAt - performance.now() : 0;
    if (waitMs <= 0) this.#renew().catch(() => {});
    else if (!this.#timer) this.#wakeIn(waitMs); // a timer may fire a moment too early
  }

  #wakeIn(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#wake();
    }, delayMs);
    unref(this.#timer);
  }

  /** Renew with the current cookie. Wait for a renewal in progress first: it may have sent the previous one. */
  #askAgain(): void {
    settled(this.#renewing).then(() => this.#renew()).catch(() => {});
  }

  /** Renew the token. Concurrent callers share one request. */
  #renew(): Promise<void> {
    this.#renewing ??= this.#tryToRenew().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #tryToRenew(): Promise<void> {
    const epoch = this.#epoch;
    let answer: TokenAnswer;
    try {
      answer = await insist(() => this.#call<TokenAnswer>("/refresh"), () => {
        if (epoch === this.#epoch) this.#becomeOffline();
      });
    } catch (error) {
      if (epoch !== this.#epoch) return;
      // Without a valid cookie the browser has no session, whatever the cause. No other error ends it.
      if (error instanceof HandstampError && ["session_ended", "missing_token", "invalid_token"].includes(error.code)) {
        this.#endEverywhere(error.reason);
        return;
      }
      this.#failures += 1;
      if (error instanceof OfflineError) {
        this.#wakeIn(pauseMs(this.#failures + TRIES));
        if (this.#failures === 1) this.#explain();
      } else {
        this.#wakeIn(LONGEST_PAUSE_MS);
        this.#becomeOffline(`${this.#url}/refresh: ${String(error)}`);
      }
      throw error;
    }
    if (epoch === this.#epoch) this.#take(answer);
  }

  /** A browser hides answers that are not meant for the page's origin. Public documents can be read from anywhere. */
  async #explain(): Promise<void> {
    const epoch = this.#epoch;
    const answer = await fetch(`${this.#url}/.well-known/jwks.json`).catch(() => undefined);
    if (!answer?.ok || epoch !== this.#epoch || this.#failures === 0) return;
    const origin = globalThis.location?.origin;
    this.#becomeOffline(
      `${this.#url} can be reached, but its answer to /refresh cannot be used here. Is ${origin} one of its HANDSTAMP_TRUSTED_ORIGINS?`,
    );
  }

  #take({ accessToken, expiresIn, sessionId }: TokenAnswer): void {
    this.#failures = 0;
    // Spread the renewals of tabs and devices, and renew early enough that no request in progress is refused.
    const lifeMs = 1000 * expiresIn * (0.7 + 0.15 * Math.random());
    const gotAt = performance.now();
    this.#access = { token: accessToken, gotAt, renewAt: gotAt + lifeMs };
    this.#wakeIn(lifeMs);
    this.#become({ status: "signed-in", online: true, sessionId });
  }

  #end(reason?: EndReason): void {
    this.#epoch += 1;
    this.#access = undefined;
    clearTimeout(this.#timer);
    this.#become(reason ? { status: "signed-out", reason } : { status: "signed-out" });
  }

  #endEverywhere(reason?: EndReason): void {
    const session = this.#sessionId;
    this.#end(reason);
    if (session) this.#tabs.tell({ type: "signed-out", session, reason });
  }

  #hear(message: Message): void {
    const isOwn = message.session === this.#sessionId;
    if (message.type === "signed-out" && isOwn) this.#end(message.reason);
    if (!isOwn && (message.type === "signed-in" || this.#state.status === "unknown")) {
      this.#epoch += 1;
      this.#access = undefined;
      this.#become({ status: "unknown", online: true });
      this.#askAgain();
    }
  }

  #becomeOffline(problem?: string): void {
    if (this.#state.status === "signed-out") return;
    if (problem) console.error(`Handstamp: ${problem}`);
    this.#become({ ...this.#state, online: false, ...(problem ? { problem } : {}) });
  }

  #become(state: State): void {
    if (JSON.stringify(state) === JSON.stringify(this.#state)) return;
    this.#state = state;
    for (const listener of [...this.#listeners]) {
      try {
        listener(state);
      } catch (error) {
        reportError(error);
      }
    }
  }

  /** Tell the service of a sign-out, until it has ended the session or a sign-in, in any tab, has replaced it. */
  async #finishSignOut(): Promise<void> {
    if (this.#state.status !== "signed-out") this.#end("logout");
    const epoch = this.#epoch;
    const signingIn = this.#signingIn;
    const ask = (): Promise<unknown> => insist(async () => this.#pending.exists && this.#call("/logout"));
    try {
      await ask();
      if (signingIn) {
        await settled(signingIn); // a sign-in that was under way may have begun a session after the sign-out
        await ask();
      }
    } catch (error) {
      if (this.#pending.exists) this.#pending.begin(); // stored again, if the storage was cleared meanwhile
      throw error;
    }
    if (epoch === this.#epoch) this.#pending.clear();
  }

  /** Send a request to the service that sets or removes the cookie. */
  #call<T>(path: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
    if (!isBrowser()) return Promise.reject(new TypeError(NO_BROWSER));
    return this.#tabs.oneAtATime(() => post<T>(this.#url + path, body, headers));
  }
}

const settled = async (work: Promise<unknown> | undefined): Promise<unknown> => work?.catch(() => {});

const randomKey = (): string => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Return whether requests carry cookies here: in pages and their workers, and in React Native. */
const isBrowser = (): boolean =>
  "document" in globalThis || "WorkerGlobalScope" in globalThis || globalThis.navigator?.product === "ReactNative";

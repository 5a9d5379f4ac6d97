import { type EndReason, errorOf, HandstampError, isPassing, OfflineError } from "./errors.js";
import { type Message, Tabs } from "./tabs.js";

/** The sign-in state of this browser. */
export type State =
  /** The service has not answered yet. `online: false`: it could not be reached. */
  | { readonly status: "unknown"; readonly online: boolean }
  /** Signed in. `online: false`: the client cannot renew the token at the moment; the session is still active. */
  | { readonly status: "signed-in"; readonly online: boolean; readonly sessionId: string }
  /** Signed out. `reason` is set if a session was ended. */
  | { readonly status: "signed-out"; readonly reason?: EndReason };

export interface Options {
  /** The public URL of the service, such as `https://auth.example.com`. */
  url: string;
  /** Other origins to which `fetch` may send the access token, such as `https://api.example.com`. */
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

export interface Client {
  /** The current state. */
  readonly state: State;
  /** Sign in. Rejects with `HandstampError` (`invalid_credentials`, `too_many_attempts` …) or `OfflineError`. */
  signIn(email: string, password: string): Promise<void>;
  /**
   * Sign out at once in all tabs. Resolves when the service has ended the session. Rejects with `OfflineError` if the
   * service cannot be reached. The next page load then repeats the request; this browser stays signed out meanwhile.
   */
  signOut(): Promise<void>;
  /** End every session of the account. Rejects, and changes nothing, if the service cannot be reached. */
  signOutEverywhere(): Promise<void>;
  /** Return the account that is signed in. */
  profile(): Promise<Profile>;
  /**
   * The browser's `fetch` with the access token, which is renewed when necessary. Throws `TypeError` for an origin that
   * may not get the token, `HandstampError` (`session_ended`, `missing_token`) if no user is signed in, and `OfflineError`.
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  /** Call `listener` with each new state. Returns a function that removes the listener. */
  onChange(listener: (state: State) => void): () => void;
}

interface TokenAnswer {
  accessToken: string;
  expiresIn: number;
  sessionId: string;
}

const REQUEST_PATIENCE_MS = 15_000;
const TRIES = 4;
/** Every token lives longer than this. If a newer one is refused as `invalid_token`, renewing will not help. */
const NEW_MS = 10_000;
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 30_000;

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
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  readonly #url: string;
  readonly #apis: ReadonlySet<string>;
  readonly #tabs: Tabs;
  readonly #listeners = new Set<(state: State) => void>();

  constructor({ url, apis = [] }: Options) {
    this.#url = new URL(url, globalThis.location?.href).href.replace(/\/+$/, "");
    this.#apis = new Set([this.#url, ...apis].map((each) => new URL(each).origin));
    this.#tabs = new Tabs(this.#url, (message) => this.#hear(message));
    // Timers may be late after sleep, in a hidden tab, or when the network is back.
    for (const event of ["online", "focus"]) globalThis.addEventListener?.(event, () => this.#renewIfDue());
    // A page from the back/forward cache has missed the messages of other tabs.
    globalThis.addEventListener?.("pageshow", ({ persisted }) => (persisted ? this.#start() : this.#renewIfDue()));
    globalThis.document?.addEventListener("visibilitychange", () => this.#renewIfDue());
    this.#start();
  }

  #start(): void {
    if (this.#signOutPending) this.#finishSignOut().catch(() => {});
    else this.#renewAgain();
  }

  get state(): State {
    return this.#state;
  }

  onChange(listener: (state: State) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async signIn(email: string, password: string): Promise<void> {
    const epoch = ++this.#epoch;
    // No tab may renew meanwhile, or the old session's cookie could arrive after the new one and replace it.
    // If the answer is lost, the request is sent once more. The key keeps it from beginning a second session.
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    const ask = (): Promise<TokenAnswer> => this.#call("/login", { email, password, delivery: "split" }, headers);
    const answer = await this.#tabs.oneAtATime(() =>
      ask().catch((error) => {
        if (error instanceof OfflineError) return ask();
        throw error;
      }),
    );
    if (epoch !== this.#epoch) return;
    this.#signOutPending = false;
    this.#take(answer);
    this.#tabs.tell({ type: "signed-in", session: answer.sessionId });
  }

  async signOut(): Promise<void> {
    this.#signOutPending = true;
    this.#endEverywhere("logout");
    await this.#finishSignOut();
  }

  async signOutEverywhere(): Promise<void> {
    const response = await this.fetch(`${this.#url}/logout-everywhere`, { method: "POST", credentials: "include" });
    if (!response.ok) throw await errorOf(response);
    this.#endEverywhere("logout_everywhere");
  }

  async profile(): Promise<Profile> {
    const response = await this.fetch(`${this.#url}/profile`);
    if (!response.ok) throw await errorOf(response);
    return response.json();
  }

  async fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    const request = new Request(input, init);
    const { origin } = new URL(request.url);
    if (!this.#apis.has(origin)) {
      const fix = `If you trust it, add it: createClient({ apis: ["${origin}"] }).`;
      throw new TypeError(`${origin} may not get the access token. ${fix}`);
    }
    const send = (token: string): Promise<Response> => {
      const copy = request.clone();
      copy.headers.set("Authorization", `Bearer ${token}`);
      return fetch(copy);
    };
    const token = await this.#token();
    const session = this.#sessionId;
    const response = await send(token);
    if (response.status !== 401) return response;
    const { code, reason } = await errorOf(response.clone());
    if (code === "session_ended" && session === this.#sessionId) this.#endEverywhere(reason);
    if (code !== "expired_token" && code !== "invalid_token") return response;
    if (this.#access?.token === token) {
      // The token has expired, or its key was declared void.
      if (code === "invalid_token" && performance.now() < this.#access.gotAt + NEW_MS) return response;
      await this.#renew();
    }
    return send(await this.#token());
  }

  get #sessionId(): string {
    return this.#state.status === "signed-in" ? this.#state.sessionId : "";
  }

  /** Return the access token. Renew first if there is none, and in the background if it is due. */
  async #token(): Promise<string> {
    for (;;) {
      if (this.#state.status === "signed-out") throw this.#signedOut();
      if (this.#access) break;
      await this.#renew(); // then check again: a sign-in or sign-out may have happened meanwhile
    }
    this.#renewIfDue();
    return this.#access.token;
  }

  #signedOut(): HandstampError {
    const reason = this.#state.status === "signed-out" ? this.#state.reason : undefined;
    return new HandstampError(reason ? "session_ended" : "missing_token", 401, "No user is signed in.", reason);
  }

  #renewIfDue(): void {
    if (this.#state.status === "signed-out") return;
    if (!this.#access || performance.now() >= this.#access.renewAt) this.#renew().catch(() => {});
  }

  /** Renew with the current cookie. Wait for a renewal in progress first: it may have sent the previous one. */
  #renewAgain(): void {
    (this.#renewing ?? Promise.resolve()).catch(() => {}).then(() => this.#renew()).catch(() => {});
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
      answer = await this.#retry(() => this.#tabs.oneAtATime(() => this.#call<TokenAnswer>("/refresh")), () => {
        if (epoch === this.#epoch && this.#state.status !== "signed-out") this.#become({ ...this.#state, online: false });
      });
    } catch (error) {
      if (epoch !== this.#epoch) return;
      if (error instanceof OfflineError) this.#isOffline();
      // Without a valid cookie the browser has no session, whatever the cause. No other error ends it.
      else if (error instanceof HandstampError && ["session_ended", "missing_token", "invalid_token"].includes(error.code)) {
        this.#endEverywhere(error.reason);
        return;
      }
      throw error;
    }
    if (epoch === this.#epoch) this.#take(answer);
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

  #isOffline(): void {
    this.#failures += 1;
    this.#wakeIn(pauseMs(this.#failures + TRIES));
  }

  #wakeIn(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#renewIfDue(), delayMs);
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
      this.#renewAgain();
    }
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

  // --- a sign-out that has not reached the service survives a reload: a flag is stored, and no token

  get #signOutPending(): boolean {
    return globalThis.localStorage?.getItem(`handstamp-signing-out:${this.#url}`) === "1";
  }

  set #signOutPending(pending: boolean) {
    const name = `handstamp-signing-out:${this.#url}`;
    if (pending) globalThis.localStorage?.setItem(name, "1");
    else globalThis.localStorage?.removeItem(name);
  }

  async #finishSignOut(): Promise<void> {
    if (this.#state.status !== "signed-out") this.#end("logout");
    const epoch = this.#epoch;
    // A sign-in meanwhile, in any tab, has ended that session. Do not end the new one.
    await this.#retry(async () => this.#signOutPending && this.#call("/logout"));
    if (epoch === this.#epoch) this.#signOutPending = false;
  }

  // --- requests to the service

  /** Retry temporary errors. Call `onSecondFailure` after the second one; throw `OfflineError` after the last one. */
  async #retry<T>(ask: () => Promise<T>, onSecondFailure = (): void => {}): Promise<T> {
    for (let failures = 1; ; failures += 1) {
      try {
        return await ask();
      } catch (error) {
        const mayPass = error instanceof OfflineError || (error instanceof HandstampError && isPassing(error));
        if (!mayPass) throw error;
        const retryAfterMs = 1000 * ((error instanceof HandstampError && error.retryAfter) || 0);
        if (failures === 2) onSecondFailure();
        if (failures >= TRIES) throw new OfflineError("The service cannot be reached, or cannot answer now.", { cause: error });
        await new Promise((done) => setTimeout(done, Math.min(LONGEST_PAUSE_MS, Math.max(retryAfterMs, pauseMs(failures)))));
      }
    }
  }

  async #call<T>(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    let response: Response;
    try {
      response = await fetch(this.#url + path, {
        method: "POST",
        credentials: "include",
        cache: "no-store",
        keepalive: path === "/logout", // the request continues if the page is closed
        signal: AbortSignal.timeout(REQUEST_PATIENCE_MS),
        ...(body === undefined ? {} : { headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) }),
      });
      if (response.ok) return response.status === 204 ? (undefined as T) : await response.json();
    } catch (error) {
      throw new OfflineError("The service cannot be reached.", { cause: error });
    }
    throw await errorOf(response);
  }
}

/** Exponential backoff with jitter. */
const pauseMs = (failures: number): number =>
  Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);

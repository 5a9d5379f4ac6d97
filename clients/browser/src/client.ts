import { type EndReason, errorOf, HandstampError, isPassing, OfflineError } from "./errors.js";
import { type Message, Tabs } from "./tabs.js";

/** What is known about the person in front of this browser. */
export type State =
  /** The service has not answered yet. `online: false` says that it could not be reached. */
  | { readonly status: "unknown"; readonly online: boolean }
  /** Signed in. `online: false` says that renewing does not succeed at the moment; the session goes on. */
  | { readonly status: "signed-in"; readonly online: boolean; readonly sessionId: string }
  /** Signed out; `reason` says why, where a session was ended. */
  | { readonly status: "signed-out"; readonly reason?: EndReason };

export interface Options {
  /** Where the service is: its public URL, such as `https://auth.example.com`. */
  url: string;
  /** Origins beside the service's own to which `fetch` may send the access token, such as `https://api.example.com`. */
  apis?: readonly string[];
}

/** Who is signed in, as `GET /profile` says. */
export interface Profile {
  id: string;
  email: string;
  emailVerified: boolean;
  roles: string[];
  createdAt: string;
  session: { id: string; createdAt: string; authenticatedAt: string; expiresAt: string };
}

export interface Client {
  /** What is known now. */
  readonly state: State;
  /** Sign in. Rejects with `HandstampError` (`invalid_credentials`, `too_many_attempts` …) or `OfflineError`. */
  signIn(email: string, password: string): Promise<void>;
  /**
   * Sign out, here and in all tabs, at once. Resolves when the service has ended the session. Rejects with `OfflineError` if it
   * cannot be told: it is told at the next start then, and nobody is signed in here until it has been.
   */
  signOut(): Promise<void>;
  /** End every session of this person. Rejects, and changes nothing, if the service cannot be told. */
  signOutEverywhere(): Promise<void>;
  /** Return who is signed in. */
  profile(): Promise<Profile>;
  /**
   * As the browser's `fetch`, with the access token, which is renewed when it has to be. Throws `TypeError` for an origin that
   * may not have it, `HandstampError` (`session_ended`, `missing_token`) where nobody is signed in, and `OfflineError`.
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  /** Call `listener` with each new state, from now on; return what ends that. */
  onChange(listener: (state: State) => void): () => void;
}

interface TokenAnswer {
  accessToken: string;
  expiresIn: number;
  sessionId: string;
}

const REQUEST_PATIENCE_MS = 15_000;
const TRIES = 4;
/** No token lives so short: one that is refused as `invalid_token` sooner is so for another reason, as the next would be. */
const NEW_MS = 10_000;
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 30_000;

/** Return a client, and find out by the cookie whether somebody is signed in: `onChange` tells. One a page is enough. */
export function createClient(options: Options): Client {
  return new Session(options);
}

class Session implements Client {
  #state: State = { status: "unknown", online: true };
  /** The only place of the access token. Its times are on the monotonic clock: the device's date may be wrong. */
  #access: { token: string; gotAt: number; renewAt: number } | undefined;
  /** Counts sign-ins and sign-outs: an answer to what was asked before one is of no use after it. */
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
    // After sleep, in a tab that was hidden, or back in the network, timers are late.
    for (const event of ["online", "focus"]) globalThis.addEventListener?.(event, () => this.#renewIfDue());
    // A page out of the back button's memory has slept through what other tabs told.
    globalThis.addEventListener?.("pageshow", ({ persisted }) => (persisted ? this.#start() : this.#renewIfDue()));
    globalThis.document?.addEventListener("visibilitychange", () => this.#renewIfDue());
    this.#start();
  }

  #start(): void {
    if (this.#owesSignOut) this.#payForSignOut().catch(() => {});
    else this.#askAnew();
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
    // While no tab renews: the cookie of the session of before must not arrive after that of the new one.
    const answer = await this.#tabs.oneAtATime(() => this.#call<TokenAnswer>("/login", { email, password, delivery: "split" }));
    if (epoch !== this.#epoch) return;
    this.#owesSignOut = false;
    this.#take(answer);
    this.#tabs.tell({ type: "signed-in", session: answer.sessionId });
  }

  async signOut(): Promise<void> {
    this.#owesSignOut = true;
    this.#endEverywhere("logout");
    await this.#payForSignOut();
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
      const mend = `If it is yours, add it: createClient({ apis: ["${origin}"] }).`;
      throw new TypeError(`${origin} is not to have the access token. ${mend}`);
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
      // Over, whatever the clocks say; or signed with a key that has been declared void.
      if (code === "invalid_token" && performance.now() < this.#access.gotAt + NEW_MS) return response;
      await this.#renew();
    }
    return send(await this.#token());
  }

  get #sessionId(): string {
    return this.#state.status === "signed-in" ? this.#state.sessionId : "";
  }

  /** Return an access token that is not about to end. */
  async #token(): Promise<string> {
    for (;;) {
      if (this.#state.status === "signed-out") throw this.#signedOut();
      if (this.#access) break;
      await this.#renew(); // and look again: somebody may have signed in or out meanwhile
    }
    this.#renewIfDue();
    return this.#access.token;
  }

  #signedOut(): HandstampError {
    const reason = this.#state.status === "signed-out" ? this.#state.reason : undefined;
    return new HandstampError(reason ? "session_ended" : "missing_token", 401, "Nobody is signed in here.", reason);
  }

  #renewIfDue(): void {
    if (this.#state.status === "signed-out") return;
    if (!this.#access || performance.now() >= this.#access.renewAt) this.#renew().catch(() => {});
  }

  /** Ask once more, with the cookie as it is now: what is under way may have been asked with the one of before. */
  #askAnew(): void {
    (this.#renewing ?? Promise.resolve()).catch(() => {}).then(() => this.#renew()).catch(() => {});
  }

  /** Renew, once however many ask. */
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
      answer = await this.#insist(() => this.#tabs.oneAtATime(() => this.#call<TokenAnswer>("/refresh")), () => {
        if (epoch === this.#epoch && this.#state.status !== "signed-out") this.#become({ ...this.#state, online: false });
      });
    } catch (error) {
      if (epoch !== this.#epoch) return;
      if (error instanceof OfflineError) this.#isOffline();
      // Without its cookie a browser has no session, however that came about. Nothing else ends one.
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
    // Not all tabs and devices at the same moment, and early enough that requests under way are not refused.
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
      this.#askAnew();
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

  // --- a sign-out that the service has not heard of yet survives a reload: no token is kept, only that it is owed

  get #owesSignOut(): boolean {
    return globalThis.localStorage?.getItem(`handstamp-signing-out:${this.#url}`) === "1";
  }

  set #owesSignOut(owes: boolean) {
    const name = `handstamp-signing-out:${this.#url}`;
    if (owes) globalThis.localStorage?.setItem(name, "1");
    else globalThis.localStorage?.removeItem(name);
  }

  async #payForSignOut(): Promise<void> {
    if (this.#state.status !== "signed-out") this.#end("logout");
    const epoch = this.#epoch;
    // Whoever signs in meanwhile, here or in another tab, has ended that session: theirs is not meant.
    await this.#insist(async () => this.#owesSignOut && this.#call("/logout"));
    if (epoch === this.#epoch) this.#owesSignOut = false;
  }

  // --- requests to the service

  /** Try some times while the trouble may pass, `tellTrouble` when it lasts; then throw `OfflineError`. */
  async #insist<T>(ask: () => Promise<T>, tellTrouble = (): void => {}): Promise<T> {
    for (let failures = 1; ; failures += 1) {
      try {
        return await ask();
      } catch (error) {
        const mayPass = error instanceof OfflineError || (error instanceof HandstampError && isPassing(error));
        if (!mayPass) throw error;
        const retryAfterMs = 1000 * ((error instanceof HandstampError && error.retryAfter) || 0);
        if (failures === 2) tellTrouble();
        if (failures >= TRIES) throw new OfflineError("The service cannot be reached, or cannot answer now.", { cause: error });
        await new Promise((done) => setTimeout(done, Math.min(LONGEST_PAUSE_MS, Math.max(retryAfterMs, pauseMs(failures)))));
      }
    }
  }

  async #call<T>(path: string, body?: unknown): Promise<T> {
    let response: Response;
    try {
      response = await fetch(this.#url + path, {
        method: "POST",
        credentials: "include",
        cache: "no-store",
        keepalive: path === "/logout", // the page may be closed on it
        signal: AbortSignal.timeout(REQUEST_PATIENCE_MS),
        ...(body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
      });
      if (response.ok) return response.status === 204 ? (undefined as T) : await response.json();
    } catch (error) {
      throw new OfflineError("The service cannot be reached.", { cause: error });
    }
    throw await errorOf(response);
  }
}

/** Twice as long each time, and not for everybody the same. */
const pauseMs = (failures: number): number =>
  Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);

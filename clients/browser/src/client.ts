import type { Requests } from "./methods.js";
import { type EndReason, errorOf, HandstampError, OfflineError } from "./errors.js";
import { lateMethods, load } from "./later.js";
import { insist, LONGEST_PAUSE_MS, pauseMs, TRIES, unlessAborted, unref } from "./requests.js";
import { type Message, Tabs } from "./tabs.js";
import type { Transport } from "./transport.js";
import type { Actor, LateMethods, Client, Factor, Options, Profile, SignIn, State } from "./types.js";

interface TokenAnswer {
  accessToken: string;
  expiresIn: number;
  sessionId: string;
  actor?: Actor;
}

/** The answer to a sign-in that needs another step. */
interface ChallengeAnswer {
  accessToken?: undefined;
  challenge: string;
  methods: Factor[];
  enrol?: Factor[];
  expiresIn: number;
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
/** What helps against a refusal: a newer token, or a proof by the person. */
const EXPIRED = "expired_token";
const WEAK = "insufficient_user_authentication";
/** The header fields of a trace (W3C Trace Context). A renewal is in the trace of the request that needs it. */
const TRACE = /^trace(parent|state)$/;

export interface Session extends LateMethods {}

/** The state machine of a client. The transport keeps and sends the refresh token. */
export class Session implements Client {
  #state: State = { status: "unknown", online: true };
  /** The only copy of the access token, and the age at which it is renewed. */
  #access: { token: string; ageMs: () => number; renewAtMs: number } | undefined;
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
  readonly #transport: Transport;
  readonly #listeners = new Set<(state: State) => void>();
  readonly #closing = new AbortController();
  readonly #requests: Requests;

  constructor({ url, apis = [], onStepUp }: Options, transportFor: (url: string) => Transport) {
    this.#url = new URL(url, globalThis.location?.href).href.replace(/\/+$/, "");
    this.#apis = new Set([this.#url, ...apis].map((each) => new URL(each).origin));
    this.#transport = transportFor(this.#url);
    this.#tabs = new Tabs(this.#url, this.#transport.isShared ? (message) => this.#hear(message) : undefined);
    this.#requests = this.#shareWith(onStepUp);
    Object.assign(this, lateMethods(this.#requests));
    if (Symbol.dispose) Object.defineProperty(this, Symbol.dispose, { value: this.close });
    if (!this.#transport.isUsable) return;
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
    const loading = this.#transport.load();
    const begin = (): void => {
      if (this.#transport.isSigningOut) settled(this.#finishSignOut());
      else if (loading) settled(this.#renew()); // one that began meanwhile has waited for it, too
      else this.#askAgain();
    };
    if (loading) loading.then(begin);
    else begin();
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

  readonly signIn = (email: string, password: string): Promise<SignIn> => 
    this.#begin("/login", { email, password, delivery: this.#transport.delivery });

  async #begin(path: string, body: object, headers?: Record<string, string>): Promise<SignIn> {
    if (this.#isClosed) throw closed();
    const renewing = this.#renewing;
    const epoch = ++this.#epoch;
    const asking = this.#callTwice<TokenAnswer | ChallengeAnswer>(path, body, headers);
    this.#signingIn = asking;
    let answer: TokenAnswer | ChallengeAnswer | undefined;
    try {
      answer = await asking;
    } finally {
      if (this.#signingIn === asking) this.#signingIn = undefined;
      if (renewing && !answer?.accessToken && epoch === this.#epoch) this.#askAgain(); // the answer to that renewal was dropped
    }
    if (!answer.accessToken) return { status: "enrol" in answer ? "enrolment" : "second-factor", ...answer } as SignIn;
    if (this.#transport.isSigningOut && epoch !== this.#epoch) {
      this.#transport.beginSignOut(); // signOut() ends the new session too
      throw this.#signedOut();
    }
    this.#transport.finishSignOut(); // the service has ended the session of the previous cookie
    if (epoch === this.#epoch) this.#take(answer);
    else this.#askAgain(); // another sign-in, here or in another tab, may have set its cookie later
    this.#tabs.tell({ type: "signed-in", session: answer.sessionId });
    return { status: "signed-in", sessionId: answer.sessionId };
  }

  /** If the answer is lost, ask once more. The key keeps the service from doing the work twice. */
  #callTwice<T>(path: string, body: object, headers?: Record<string, string>): Promise<T> {
    const key = randomKey();
    const ask = (): Promise<T> => this.#call<T>(path, body, { ...headers, ...(key ? { "Idempotency-Key": key } : {}) });
    return ask().catch((error) => {
      if (key && error instanceof OfflineError) return ask();
      throw error;
    });
  }

  /** Return what the methods for accounts need. */
  #shareWith(onStepUp: Options["onStepUp"]): Requests {
    return {
      url: this.#url,
      transport: this.#transport,
      onStepUp,
      onChange: this.onChange,
      getState: this.getState,
      call: (path, body, headers) => this.#call(path, body, headers),
      callTwice: (path, body) => this.#callTwice(path, body),
      callSignedIn: (...request) => this.#callSignedIn(...request),
      key: randomKey,
      begin: (path, body, headers) => this.#begin(path, body, headers),
      authorization: async () => {
        await this.#renewIfDue();
        return { Authorization: `Bearer ${await this.#token()}` };
      },
      requireKnown: (origin) => this.#requireKnown(origin),
      renew: () => this.#renewAnew(),
      tellStepUp: () => this.#tabs.tell({ type: "stepped-up", session: this.#sessionId }),
      end: (reason) => this.#endAll(reason),
      fail: (code, message) => new HandstampError(code, 0, message),
    };
  }

  /** Send a request with the access token, and return what it answers. Throws `HandstampError` and `OfflineError`. */
  async #callSignedIn<T>(
    path: string,
    method: string,
    body?: object,
    headers: Record<string, string> = {},
    read: "json" | "blob" = "json",
  ): Promise<T> {
    const content = body && { headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) };
    let response: Response;
    try {
      const credentials = method === "GET" ? "same-origin" : "include"; // other answers may set or delete cookies
      response = await this.fetch(this.#url + path, { method, credentials, ...content });
      if (response.ok) return response.status === 204 ? (undefined as T) : await response[read]();
    } catch (error) {
      const isLost = !(error instanceof HandstampError || this.#isClosed) && this.#transport.isUsable;
      throw isLost ? new OfflineError("The service cannot be reached.", { cause: error }) : error;
    }
    throw await errorOf(response);
  }

  readonly signOut = async (): Promise<void> => {
    this.#transport.beginSignOut();
    this.#endEverywhere("logout");
    this.#transport.beginSignOut(); // a listener may have cleared the storage
    await this.#finishSignOut();
  };

  readonly profile = (): Promise<Profile> => this.#callSignedIn("/profile", "GET");

  readonly fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const { origin } = new URL(request.url);
    this.#requireKnown(origin);
    const trace = Object.fromEntries([...request.headers].filter(([name]) => TRACE.test(name)));
    const tried: string[] = [];
    for (;;) {
      const token = await unlessAborted(request.signal, this.#token(trace));
      const session = this.#sessionId;
      const copy = request.clone();
      copy.headers.set("Authorization", `Bearer ${token}`);
      const response = await (this.#transport.fetch ?? fetch)(copy);
      const remedy = await this.#remedy({ response, origin, token, session });
      if (tried.includes(EXPIRED) && response.status === 401 && remedy !== WEAK) this.#refusing.add(origin);
      // The first hop of a redirect has been carried out. Sending it again could carry it out twice.
      const isRepeatable = !response.redirected || SAFE_METHODS.includes(request.method);
      if (!remedy || !isRepeatable || tried.includes(remedy)) return response;
      tried.push(remedy);
      if (remedy === EXPIRED && this.#access?.token === token) await unlessAborted(request.signal, this.#renew(trace));
      const stepUp = remedy === WEAK && load("methods").then(({ askAgain }) => askAgain(this.#requests, response, token, request.signal));
      if (stepUp && !(await unlessAborted(request.signal, stepUp))) return response;
    }
  };

  #requireKnown(origin: string): void {
    if (this.#apis.has(origin)) return;
    const fix = `If you trust it, add it: createClient({ apis: ["${origin}"] }).`;
    throw new TypeError(`${origin} may not get the access token. ${fix}`);
  }

  /** Return `EXPIRED` if a newer token may be accepted, because the token has expired or its key was declared void. Return `WEAK` if the person must prove again that it is them, and can be asked. */
  async #remedy({ response, origin, token, session }: Sent): Promise<string | undefined> {
    if (response.status !== 401) {
      this.#refusing.delete(origin);
      return undefined;
    }
    const { code, reason } = await errorOf(response.clone());
    if (code === "session_ended" && session === this.#sessionId) this.#endEverywhere(reason);
    if (code === WEAK && this.#requests.onStepUp) return WEAK;
    if (code !== EXPIRED && code !== "invalid_token") return undefined;
    const isNew = this.#access?.token === token && this.#access.ageMs() < (this.#refusing.has(origin) ? this.#access.renewAtMs : NEW_MS);
    return isNew ? undefined : EXPIRED;
  }

  get #sessionId(): string {
    return this.#state.status === "signed-in" ? this.#state.sessionId : "";
  }

  /** Return the access token. Renew first if there is none, and in the background if it is due, in the trace of the request. */
  async #token(trace?: Record<string, string>): Promise<string> {
    for (;;) {
      if (this.#isClosed) throw closed();
      if (this.#state.status === "signed-out") throw this.#signedOut();
      if (this.#access) break;
      await this.#renew(trace); // then check again: a sign-in or sign-out may have happened meanwhile
    }
    this.#wake(trace);
    return this.#access.token;
  }

  #signedOut(): HandstampError {
    const reason = this.#state.status === "signed-out" ? this.#state.reason : undefined;
    return new HandstampError(reason ? "session_ended" : "missing_token", 401, "No user is signed in.", reason);
  }

  /** Do what is due: renew the token, or tell the service of a sign-out. */
  #wake(trace?: Record<string, string>): void {
    if (this.#isClosed) return;
    if (this.#state.status === "signed-out") {
      if (this.#transport.isSigningOut) settled(this.#finishSignOut());
      return;
    }
    const waitMs = this.#dueInMs();
    if (waitMs <= 0) settled(this.#renew(trace));
    else if (!this.#timer) this.#wakeIn(waitMs); // a timer may fire a moment too early
  }

  #dueInMs(): number {
    return this.#access ? this.#access.renewAtMs - this.#access.ageMs() : 0;
  }

  async #renewIfDue(): Promise<void> {
    if (this.#access && this.#dueInMs() <= 0) await settled(this.#renew());
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

  /** Get a token that says what the service knows now. An answer that is under way may say what it knew before. */
  #renewAnew(): Promise<void> {
    this.#epoch += 1;
    this.#access = undefined;
    return settled(this.#renewing).then(() => this.#renew());
  }

  /** Renew the token. Concurrent callers share one request. */
  #renew(trace?: Record<string, string>): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed());
    this.#renewing ??= this.#tryToRenew(trace).finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #tryToRenew(trace?: Record<string, string>): Promise<void> {
    const epoch = this.#epoch;
    let answer: TokenAnswer;
    const ask = (): Promise<TokenAnswer> => {
      const headers = trace;
      trace = undefined; // if a proxy refuses these fields, that costs one try
      return this.#call("/refresh", undefined, headers);
    };
    try {
      answer = await insist(ask, () => {
        if (epoch === this.#epoch) this.#becomeOffline();
      });
    } catch (error) {
      if (epoch !== this.#epoch) return;
      // Without a valid cookie the browser has no session, whatever the cause. No other error ends it.
      if (error instanceof HandstampError && ["session_ended", "missing_token", "invalid_token"].includes(error.code)) {
        if (error.code === "session_ended") this.#transport.forget();
        this.#endEverywhere(error.reason);
        return;
      }
      this.#failures += 1;
      if (error instanceof OfflineError) {
        this.#wakeIn(pauseMs(this.#failures + TRIES));
        if (this.#failures === 1) settled(this.#explain());
      } else {
        this.#wakeIn(LONGEST_PAUSE_MS);
        this.#becomeOffline(`${this.#url}/refresh: ${String(error)}`);
      }
      throw error;
    }
    if (epoch === this.#epoch) this.#take(answer);
  }

  async #explain(): Promise<void> {
    const epoch = this.#epoch;
    const problem = await this.#transport.explain();
    if (problem && epoch === this.#epoch && this.#failures > 0) this.#becomeOffline(problem);
  }

  #take({ accessToken, expiresIn, sessionId, actor }: TokenAnswer): void {
    this.#failures = 0;
    // Spread the renewals of tabs and devices, and renew early enough that no request in progress is refused.
    const renewAtMs = 1000 * expiresIn * (0.7 + 0.15 * Math.random());
    this.#access = { token: accessToken, ageMs: stopwatch(), renewAtMs };
    this.#wakeIn(renewAtMs);
    this.#become({ status: "signed-in", online: true, sessionId, ...(actor ? { actor } : {}) });
  }

  #end(reason?: EndReason): void {
    this.#epoch += 1;
    this.#access = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#become(reason ? { status: "signed-out", reason } : { status: "signed-out" });
  }

  #endEverywhere(reason?: EndReason): void {
    const session = this.#sessionId;
    this.#end(reason);
    if (session) this.#tabs.tell({ type: "signed-out", session, reason });
  }

  /** All sessions of the account have ended. */
  #endAll(reason?: EndReason): void {
    this.#transport.forget();
    this.#endEverywhere(reason);
  }

  #hear(message: Message): void {
    const isOwn = message.session === this.#sessionId;
    if (message.type === "signed-out" && isOwn) this.#end(message.reason);
    const isAnother = !isOwn && (message.type === "signed-in" || this.#state.status === "unknown");
    if (!isAnother && !(isOwn && message.type === "stepped-up")) return;
    settled(this.#renewAnew());
    if (isAnother) this.#become({ status: "unknown", online: true });
    else this.#requests.onOtherStepUp?.();
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
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }

  /** Tell the service of a sign-out, until it has ended the session or a sign-in, in any tab, has replaced it. */
  async #finishSignOut(): Promise<void> {
    if (this.#state.status !== "signed-out") this.#end("logout");
    const epoch = this.#epoch;
    const signingIn = this.#signingIn;
    const ask = (): Promise<unknown> => insist(async () => this.#transport.isSigningOut && this.#call("/logout"));
    try {
      await ask();
      if (signingIn) {
        await settled(signingIn); // a sign-in that was under way may have begun a session after the sign-out
        await ask();
      }
    } catch (error) {
      if (this.#transport.isSigningOut) this.#transport.beginSignOut(); // stored again, if the storage was cleared meanwhile
      if (this.#state.status === "signed-out") this.#wakeIn(LONGEST_PAUSE_MS);
      throw error;
    }
    if (epoch === this.#epoch) this.#transport.finishSignOut();
  }

  /** Send a request that may change the refresh token. */
  #call<T>(path: string, body?: object, headers?: Record<string, string>): Promise<T> {
    return this.#tabs.oneAtATime(() => this.#transport.send<T>(path, body, headers));
  }
}

/**
 * Return a function that tells the milliseconds since now, by the clock that ran further. The monotonic one may stop while the
 * device sleeps. The device's date may be wrong, which does not matter, and may be changed, which costs one renewal.
 */
function stopwatch(): () => number {
  const monotonic = performance.now();
  const wall = Date.now();
  return () => Math.max(performance.now() - monotonic, Date.now() - wall);
}

const settled = async (work: Promise<unknown> | undefined): Promise<unknown> => work?.catch(() => {});

const closed = (): TypeError => new TypeError("This client was closed.");

/** Return 128 random bits, or nothing where there is no source of them, as in React Native. */
const randomKey = (): string | undefined =>
  globalThis.crypto?.getRandomValues(new Uint8Array(16)).reduce((text, byte) => text + byte.toString(16).padStart(2, "0"), "");

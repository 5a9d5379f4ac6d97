// src/errors.ts
var HandstampError = class extends Error {
  constructor(code, status, message, reason, fields = [], retryAfter) {
    super(message);
    this.code = code;
    this.status = status;
    this.reason = reason;
    this.fields = fields;
    this.retryAfter = retryAfter;
  }
  code;
  status;
  reason;
  fields;
  retryAfter;
  name = "HandstampError";
};
var OfflineError = class extends Error {
  name = "OfflineError";
};
async function errorOf(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
  }
  const { code = "unknown", detail = `The service answered ${response.status}.`, reason, fields } = problem;
  const retryAfter = Number(response.headers.get("Retry-After")) || void 0;
  return new HandstampError(code, response.status, detail, reason, fields, retryAfter);
}
var isPassing = (error) => error.status === 429 || error.status >= 500;

// src/tabs.ts
var LOCK_PATIENCE_MS = 5e3;
var Tabs = class {
  #name;
  #channel;
  constructor(url, heard) {
    this.#name = `handstamp:${url}`;
    this.#channel = typeof BroadcastChannel === "undefined" ? void 0 : new BroadcastChannel(this.#name);
    if (this.#channel) this.#channel.onmessage = ({ data }) => heard(data);
  }
  tell(message) {
    this.#channel?.postMessage(message);
  }
  /**
   * Run `work` while no other tab runs its own. The lock only saves requests; the result is correct without it. So `work`
   * runs at once if the browser has no locks, or if another tab holds the lock for too long.
   */
  async oneAtATime(work) {
    if (!globalThis.navigator?.locks) return work();
    let isRunning = false;
    const run = () => {
      isRunning = true;
      return work();
    };
    try {
      return await navigator.locks.request(this.#name, { signal: AbortSignal.timeout(LOCK_PATIENCE_MS) }, run);
    } catch (error) {
      if (isRunning) throw error;
      return work();
    }
  }
};

// src/client.ts
var REQUEST_PATIENCE_MS = 15e3;
var TRIES = 4;
var NEW_MS = 1e4;
var FIRST_PAUSE_MS = 300;
var LONGEST_PAUSE_MS = 3e4;
function createClient(options) {
  return new Session(options);
}
var Session = class {
  #state = { status: "unknown", online: true };
  /** The only copy of the access token. Its times are monotonic, because the device's clock may be wrong. */
  #access;
  /** Counts sign-ins and sign-outs. A response to a request from before the latest one is dropped. */
  #epoch = 0;
  #renewing;
  #timer;
  #failures = 0;
  #url;
  #apis;
  #tabs;
  #listeners = /* @__PURE__ */ new Set();
  constructor({ url, apis = [] }) {
    this.#url = new URL(url, globalThis.location?.href).href.replace(/\/+$/, "");
    this.#apis = new Set([this.#url, ...apis].map((each) => new URL(each).origin));
    this.#tabs = new Tabs(this.#url, (message) => this.#hear(message));
    for (const event of ["online", "focus"]) globalThis.addEventListener?.(event, () => this.#renewIfDue());
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted ? this.#start() : this.#renewIfDue());
    globalThis.document?.addEventListener("visibilitychange", () => this.#renewIfDue());
    this.#start();
  }
  #start() {
    if (this.#signOutPending) this.#finishSignOut().catch(() => {
    });
    else this.#renewAgain();
  }
  get state() {
    return this.#state;
  }
  onChange(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  async signIn(email, password) {
    const epoch = ++this.#epoch;
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    const ask = () => this.#call("/login", { email, password, delivery: "split" }, headers);
    const answer = await this.#tabs.oneAtATime(
      () => ask().catch((error) => {
        if (error instanceof OfflineError) return ask();
        throw error;
      })
    );
    if (epoch !== this.#epoch) return;
    this.#signOutPending = false;
    this.#take(answer);
    this.#tabs.tell({ type: "signed-in", session: answer.sessionId });
  }
  async signOut() {
    this.#signOutPending = true;
    this.#endEverywhere("logout");
    await this.#finishSignOut();
  }
  async signOutEverywhere() {
    const response = await this.fetch(`${this.#url}/logout-everywhere`, { method: "POST", credentials: "include" });
    if (!response.ok) throw await errorOf(response);
    this.#endEverywhere("logout_everywhere");
  }
  async profile() {
    const response = await this.fetch(`${this.#url}/profile`);
    if (!response.ok) throw await errorOf(response);
    return response.json();
  }
  async fetch(input, init) {
    const request = new Request(input, init);
    const { origin } = new URL(request.url);
    if (!this.#apis.has(origin)) {
      const fix = `If you trust it, add it: createClient({ apis: ["${origin}"] }).`;
      throw new TypeError(`${origin} may not get the access token. ${fix}`);
    }
    const send = (token2) => {
      const copy = request.clone();
      copy.headers.set("Authorization", `Bearer ${token2}`);
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
      if (code === "invalid_token" && performance.now() < this.#access.gotAt + NEW_MS) return response;
      await this.#renew();
    }
    return send(await this.#token());
  }
  get #sessionId() {
    return this.#state.status === "signed-in" ? this.#state.sessionId : "";
  }
  /** Return the access token. Renew first if there is none, and in the background if it is due. */
  async #token() {
    for (; ; ) {
      if (this.#state.status === "signed-out") throw this.#signedOut();
      if (this.#access) break;
      await this.#renew();
    }
    this.#renewIfDue();
    return this.#access.token;
  }
  #signedOut() {
    const reason = this.#state.status === "signed-out" ? this.#state.reason : void 0;
    return new HandstampError(reason ? "session_ended" : "missing_token", 401, "No user is signed in.", reason);
  }
  #renewIfDue() {
    if (this.#state.status === "signed-out") return;
    if (!this.#access || performance.now() >= this.#access.renewAt) this.#renew().catch(() => {
    });
  }
  /** Renew with the current cookie. Wait for a renewal in progress first: it may have sent the previous one. */
  #renewAgain() {
    (this.#renewing ?? Promise.resolve()).catch(() => {
    }).then(() => this.#renew()).catch(() => {
    });
  }
  /** Renew the token. Concurrent callers share one request. */
  #renew() {
    this.#renewing ??= this.#tryToRenew().finally(() => {
      this.#renewing = void 0;
    });
    return this.#renewing;
  }
  async #tryToRenew() {
    const epoch = this.#epoch;
    let answer;
    try {
      answer = await this.#retry(() => this.#tabs.oneAtATime(() => this.#call("/refresh")), () => {
        if (epoch === this.#epoch && this.#state.status !== "signed-out") this.#become({ ...this.#state, online: false });
      });
    } catch (error) {
      if (epoch !== this.#epoch) return;
      if (error instanceof OfflineError) this.#isOffline();
      else if (error instanceof HandstampError && ["session_ended", "missing_token", "invalid_token"].includes(error.code)) {
        this.#endEverywhere(error.reason);
        return;
      }
      throw error;
    }
    if (epoch === this.#epoch) this.#take(answer);
  }
  #take({ accessToken, expiresIn, sessionId }) {
    this.#failures = 0;
    const lifeMs = 1e3 * expiresIn * (0.7 + 0.15 * Math.random());
    const gotAt = performance.now();
    this.#access = { token: accessToken, gotAt, renewAt: gotAt + lifeMs };
    this.#wakeIn(lifeMs);
    this.#become({ status: "signed-in", online: true, sessionId });
  }
  #isOffline() {
    this.#failures += 1;
    this.#wakeIn(pauseMs(this.#failures + TRIES));
  }
  #wakeIn(delayMs) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#renewIfDue(), delayMs);
  }
  #end(reason) {
    this.#epoch += 1;
    this.#access = void 0;
    clearTimeout(this.#timer);
    this.#become(reason ? { status: "signed-out", reason } : { status: "signed-out" });
  }
  #endEverywhere(reason) {
    const session = this.#sessionId;
    this.#end(reason);
    if (session) this.#tabs.tell({ type: "signed-out", session, reason });
  }
  #hear(message) {
    const isOwn = message.session === this.#sessionId;
    if (message.type === "signed-out" && isOwn) this.#end(message.reason);
    if (!isOwn && (message.type === "signed-in" || this.#state.status === "unknown")) {
      this.#epoch += 1;
      this.#access = void 0;
      this.#become({ status: "unknown", online: true });
      this.#renewAgain();
    }
  }
  #become(state) {
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
  get #signOutPending() {
    return globalThis.localStorage?.getItem(`handstamp-signing-out:${this.#url}`) === "1";
  }
  set #signOutPending(pending) {
    const name = `handstamp-signing-out:${this.#url}`;
    if (pending) globalThis.localStorage?.setItem(name, "1");
    else globalThis.localStorage?.removeItem(name);
  }
  async #finishSignOut() {
    if (this.#state.status !== "signed-out") this.#end("logout");
    const epoch = this.#epoch;
    await this.#retry(async () => this.#signOutPending && this.#call("/logout"));
    if (epoch === this.#epoch) this.#signOutPending = false;
  }
  // --- requests to the service
  /** Retry temporary errors. Call `onSecondFailure` after the second one; throw `OfflineError` after the last one. */
  async #retry(ask, onSecondFailure = () => {
  }) {
    for (let failures = 1; ; failures += 1) {
      try {
        return await ask();
      } catch (error) {
        const mayPass = error instanceof OfflineError || error instanceof HandstampError && isPassing(error);
        if (!mayPass) throw error;
        const retryAfterMs = 1e3 * (error instanceof HandstampError && error.retryAfter || 0);
        if (failures === 2) onSecondFailure();
        if (failures >= TRIES) throw new OfflineError("The service cannot be reached, or cannot answer now.", { cause: error });
        await new Promise((done) => setTimeout(done, Math.min(LONGEST_PAUSE_MS, Math.max(retryAfterMs, pauseMs(failures)))));
      }
    }
  }
  async #call(path, body, headers = {}) {
    let response;
    try {
      response = await fetch(this.#url + path, {
        method: "POST",
        credentials: "include",
        cache: "no-store",
        keepalive: path === "/logout",
        // the request continues if the page is closed
        signal: AbortSignal.timeout(REQUEST_PATIENCE_MS),
        ...body === void 0 ? {} : { headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) }
      });
      if (response.ok) return response.status === 204 ? void 0 : await response.json();
    } catch (error) {
      throw new OfflineError("The service cannot be reached.", { cause: error });
    }
    throw await errorOf(response);
  }
};
var pauseMs = (failures) => Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
export {
  HandstampError,
  OfflineError,
  createClient
};

import { load } from "./later.js";
import { post } from "./requests.js";
import type { Transport } from "./transport.js";

const PENDING = "1";
const DONE = "0";
const NO_BROWSER =
  "There is no browser here to keep the session's cookie. A server that renders pages must not sign in for its visitors. " +
  "A native application uses @handstamp/browser/native.";

/**
 * The refresh token is a cookie that no script can read. A pending sign-out is kept in memory; `localStorage` holds a copy for the
 * next page load, where the browser allows it. Clearing the storage does not finish a sign-out: only a value that this client or
 * another tab wrote does.
 */
export class CookieTransport implements Transport {
  readonly isShared = true;
  readonly delivery = "split";
  ticket: string | undefined;
  readonly #url: string;
  readonly #name: string;
  #isSigningOut = false;
  #isStored = false;

  constructor(url: string) {
    this.#url = url;
    this.#name = `handstamp-signing-out:${url}`;
  }

  /** Pages and their workers send cookies. */
  readonly isUsable = "document" in globalThis || "WorkerGlobalScope" in globalThis;

  get isSigningOut(): boolean {
    if (this.#isStored && this.#read() === DONE) this.#isSigningOut = false; // another tab has finished it
    return this.#isSigningOut;
  }

  /** Take over a sign-out that an earlier page has left, or another tab while this page was in the back/forward cache. */
  load(): undefined {
    if (this.#read() === PENDING) this.#isSigningOut = this.#isStored = true;
  }

  beginSignOut(): void {
    this.#isSigningOut = true;
    this.#isStored = this.#write(PENDING);
  }

  finishSignOut(): void {
    this.#isSigningOut = false;
    this.#write(DONE);
  }

  /** The service deletes the cookie. */
  forget(): void {}

  async send<T>(path: string, body?: object, headers?: Record<string, string>): Promise<T> {
    if (!this.isUsable) throw new TypeError(NO_BROWSER);
    return post<T>(this.#url + path, body, headers);
  }

  async explain(): Promise<string | undefined> {
    return (await load("methods")).explainRefusal(this.#url);
  }

  #read(): string | null {
    try {
      return localStorage.getItem(this.#name);
    } catch {
      return null;
    }
  }

  #write(value: string): boolean {
    try {
      localStorage.setItem(this.#name, value);
      return true;
    } catch {
      return false;
    }
  }
}

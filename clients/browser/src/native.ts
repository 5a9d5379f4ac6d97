import { Session } from "./client.js";
import { HandstampError, OfflineError } from "./errors.js";
import { post } from "./requests.js";
import type { Transport } from "./transport.js";
import type { Client, Options } from "./types.js";

export { HandstampError, OfflineError } from "./errors.js";
export type { EndReason } from "./errors.js";
export type * from "./types.js";

/** Where a device keeps the refresh token. The module `expo-secure-store` has this shape. */
export interface Store {
  getItemAsync(key: string): Promise<string | null>;
  setItemAsync(key: string, value: string): Promise<void>;
  deleteItemAsync(key: string): Promise<void>;
}

export interface NativeOptions extends Options {
  /** For example `import * as SecureStore from "expo-secure-store"`. One client uses it at a time. */
  store: Store;
}

/**
 * What the store has: the token of the session, the ticket of the latest mail, and the tokens of sessions that were signed out
 * while the service was away.
 */
interface Stored {
  token: string | undefined;
  ticket: string | undefined;
  ending: string[];
}

/** Secure stores take values of 2048 bytes. A token has about 400. */
const MAX_LENGTH = 2000;

/** Return a client for React Native and other programs without cookies. Make one when the application starts. */
export function createClient({ store, ...options }: NativeOptions): Client {
  return new Session(options, (url) => new StoredTransport(url, store));
}

/**
 * The refresh token is kept in the application's own store, and sent in bodies. One item holds it together with the tokens that
 * must still be signed out. A new token is stored before the tokens that came with it are used: if the application is killed in
 * between, the service takes the previous one again.
 */
class StoredTransport implements Transport {
  readonly isUsable = true;
  readonly isShared = false;
  readonly delivery = "json";
  readonly #url: string;
  readonly #store: Store;
  readonly #key: string;
  #token: string | undefined;
  #ticket: string | undefined;
  #ending: string[] = [];
  #isSigningOut = false;
  #isRead = false;
  #reading: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #problem: string | undefined;

  constructor(url: string, store: Store) {
    this.#url = url;
    this.#store = store;
    this.#key = `handstamp-${url.replace(/[^\w.-]+/g, "_")}`; // secure stores allow no other characters
  }

  get isSigningOut(): boolean {
    return this.#isSigningOut;
  }

  get ticket(): string | undefined {
    return this.#ticket;
  }

  set ticket(ticket: string | undefined) {
    if (ticket === this.#ticket) return;
    this.#ticket = ticket;
    this.#write();
  }

  load(): Promise<void> {
    return this.#read().catch(() => {});
  }

  beginSignOut(): void {
    this.#isSigningOut = true;
    this.#endLater();
    this.#write();
  }

  finishSignOut(): void {
    this.#isSigningOut = false;
    this.#endFormer();
  }

  forget(): void {
    if (this.#token === undefined) return;
    this.#token = undefined;
    this.#write();
  }

  async send<T>(path: string, body?: object, headers?: Record<string, string>): Promise<T> {
    await this.#read();
    if (path === "/logout") return (await this.#signOut()) as T;
    if (path === "/refresh") return this.#refresh<T>(headers);
    const answer = await post<T & { refreshToken?: string }>(this.#url + path, body, headers);
    if (answer?.refreshToken) {
      this.#endLater();
      await this.#take(answer.refreshToken);
    }
    return answer;
  }

  explain(): Promise<string | undefined> {
    return Promise.resolve(this.#problem);
  }

  async #refresh<T>(headers?: Record<string, string>): Promise<T> {
    const sent = this.#token;
    if (sent === undefined) throw new HandstampError("missing_token", 401, "No user is signed in.");
    const answer = await this.#post<T & { refreshToken: string }>("/refresh", sent, headers);
    if (this.#token === sent) await this.#take(answer.refreshToken); // otherwise the person has signed out meanwhile
    return answer;
  }

  async #take(token: string): Promise<void> {
    this.#token = token;
    await this.#write();
    if (!this.#isSigningOut) this.#endFormer();
  }

  /** Let the session be signed out. Any token of a session will do, also an exchanged or expired one. */
  #endLater(): void {
    if (this.#token !== undefined) this.#ending.push(this.#token);
    this.#token = undefined;
  }

  /** End sessions that a sign-in has replaced. If the service is away, the next renewal tries again. */
  #endFormer(): void {
    if (this.#ending.length > 0) this.#signOut().catch(() => {});
  }

  async #signOut(): Promise<void> {
    for (const refreshToken of [...this.#ending]) {
      await this.#post("/logout", refreshToken);
      this.#ending = this.#ending.filter((each) => each !== refreshToken);
    }
    await this.#write();
  }

  /** Read the store once. Throws `OfflineError` if it cannot be read now, as before the device is unlocked. */
  #read(): Promise<void> {
    if (this.#isRead) return Promise.resolve();
    this.#reading ??= this.#tryToRead().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #tryToRead(): Promise<void> {
    let item: string | null;
    try {
      item = await this.#store.getItemAsync(this.#key);
    } catch (error) {
      this.#problem = `The token store cannot be read: ${String(error)}`;
      throw new OfflineError(this.#problem, { cause: error });
    }
    this.#isRead = true;
    this.#problem = undefined;
    const { token, ticket, ending = [] } = parse(item);
    this.#token = token;
    this.#ticket ??= ticket;
    this.#ending = ending;
    if (this.#isSigningOut) this.beginSignOut(); // signOut() was called before the token was known
    else this.#isSigningOut = token === undefined && ending.length > 0;
  }

  /** Store the present values, after earlier writes. If that fails they stay in memory, and the next change stores them. */
  #write(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writeNow()).catch((error) => {
      console.error(`Handstamp: the token store cannot be changed. The session may be lost when the application ends. ${String(error)}`);
    });
    return this.#writing;
  }

  async #writeNow(): Promise<void> {
    if (!this.#isRead) return; // what the store has would be lost
    const stored: Stored = { token: this.#token, ticket: this.#ticket, ending: this.#ending };
    while (stored.ending.length > 1 && JSON.stringify(stored).length > MAX_LENGTH) stored.ending = stored.ending.slice(1);
    const isEmpty = !stored.token && !stored.ticket && stored.ending.length === 0;
    await (isEmpty ? this.#store.deleteItemAsync(this.#key) : this.#store.setItemAsync(this.#key, JSON.stringify(stored)));
  }

  /** Send a token in the body. Cookies, as of a web view in the same application, would make it ambiguous. */
  #post<T>(path: string, refreshToken: string, headers?: Record<string, string>): Promise<T> {
    return post<T>(this.#url + path, { refreshToken }, headers, "omit");
  }
}

/** Return what an item of the store means. Damaged text counts as no session. */
function parse(item: string | null): Partial<Stored> {
  try {
    return JSON.parse(item ?? "{}");
  } catch {
    return {};
  }
}

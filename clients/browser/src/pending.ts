const PENDING = "1";
const DONE = "0";

/**
 * A sign-out that the service has not confirmed. It is kept in memory; `localStorage` holds a copy for the next page load, where
 * the browser allows it. Clearing the storage does not finish it: only a value that this client or another tab wrote does.
 */
export class PendingSignOut {
  readonly #name: string;
  #exists = false;
  #isStored = false;

  constructor(url: string) {
    this.#name = `handstamp-signing-out:${url}`;
    this.reload();
  }

  get exists(): boolean {
    if (this.#isStored && this.#read() === DONE) this.#exists = false; // another tab has finished it
    return this.#exists;
  }

  begin(): void {
    this.#exists = true;
    this.#isStored = this.#write(PENDING);
  }

  clear(): void {
    this.#exists = false;
    this.#write(DONE);
  }

  /** Take over a sign-out that an earlier page has left, or another tab while this page was in the back/forward cache. */
  reload(): void {
    if (this.#read() === PENDING) this.#exists = this.#isStored = true;
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

import type { EndReason } from "./errors.js";
import { abortAfter, unref } from "./requests.js";

/** The messages between tabs. They never contain a token. */
export type Message =
  | { type: "signed-in" | "stepped-up"; session: string }
  | { type: "signed-out"; session: string; reason?: EndReason | undefined };

const LOCK_PATIENCE_MS = 5000;

/** Messages and locks between tabs of the same origin. A browser that refuses them, as in a sandboxed frame, has none. */
export class Tabs {
  readonly #name: string;
  readonly #channel: BroadcastChannel | undefined;
  /** Settles when the latest work of this tab is done, if there are no locks. */
  #last: Promise<unknown> = Promise.resolve();

  /** Without `hear`, no other tab has the same session. */
  constructor(url: string, hear?: (message: Message) => void) {
    this.#name = `handstamp:${url}`;
    if (!hear) return;
    try {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }: MessageEvent<Message>) => hear(data);
      unref(this.#channel);
    } catch {
      // This client is on its own.
    }
  }

  tell(message: Message): void {
    try {
      this.#channel?.postMessage(message);
    } catch {
      // closed
    }
  }

  close(): void {
    this.#channel?.close();
  }

  /**
   * Run `work` while neither this tab nor another runs its own: each answer sets the cookie, and so the order of requests is
   * the order of answers. `work` runs at once if another holds the lock for too long.
   */
  async oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    let isRunning = false;
    const run = (): Promise<T> => {
      isRunning = true;
      return work();
    };
    const signal = abortAfter(LOCK_PATIENCE_MS);
    try {
      return await navigator.locks.request(this.#name, { signal }, run);
    } catch (error) {
      if (isRunning) throw error;
      return signal.aborted ? run() : this.#inTurn(run);
    }
  }

  /** Without the browser's locks, take turns within this tab. */
  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    let timer: ReturnType<typeof setTimeout>;
    const patience = new Promise((done) => {
      timer = setTimeout(done, LOCK_PATIENCE_MS);
    });
    const result = Promise.race([this.#last, patience]).finally(() => clearTimeout(timer)).then(run);
    this.#last = result.catch(() => {});
    return result;
  }
}

import type { EndReason } from "./errors.js";

/** The messages between tabs. They never contain a token. */
export type Message =
  | { type: "signed-in"; session: string }
  | { type: "signed-out"; session: string; reason?: EndReason | undefined };

const LOCK_PATIENCE_MS = 5000;

/** Messages and locks between tabs of the same origin, if the browser supports them. */
export class Tabs {
  readonly #name: string;
  readonly #channel: BroadcastChannel | undefined;

  constructor(url: string, heard: (message: Message) => void) {
    this.#name = `handstamp:${url}`;
    this.#channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel(this.#name);
    if (this.#channel) this.#channel.onmessage = ({ data }: MessageEvent<Message>) => heard(data);
  }

  tell(message: Message): void {
    this.#channel?.postMessage(message);
  }

  /**
   * Run `work` while no other tab runs its own. The lock only saves requests; the result is correct without it. So `work`
   * runs at once if the browser has no locks, or if another tab holds the lock for too long.
   */
  async oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    if (!globalThis.navigator?.locks) return work();
    let isRunning = false;
    const run = (): Promise<T> => {
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
}

import type { EndReason } from "./errors.js";

/** What tabs tell each other. No token is ever in it. */
export type Message =
  | { type: "signed-in"; session: string }
  | { type: "signed-out"; session: string; reason?: EndReason | undefined };

const LOCK_PATIENCE_MS = 5000;

/** Other tabs of the same origin, if the browser lets them hear each other. */
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
   * Run `work` while no other tab runs its own. This only spares the service some work, which answers rightly without: so where
   * there are no locks, or somebody holds this one for too long, it runs at once.
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

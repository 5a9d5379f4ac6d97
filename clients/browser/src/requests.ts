import { errorOf, HandstampError, isPassing, OfflineError } from "./errors.js";

const REQUEST_PATIENCE_MS = 15_000;
const FIRST_PAUSE_MS = 300;
/** How often a request is sent before the client reports that it is offline. */
export const TRIES = 4;
export const LONGEST_PAUSE_MS = 30_000;

/** Send a POST and return the JSON of its answer. Throws `HandstampError` and `OfflineError`. */
export async function post<T>(
  url: string,
  body?: object,
  headers: Record<string, string> = {},
  credentials: RequestCredentials = "include",
  send: (url: string, init: RequestInit) => Promise<Response> = (url, init) => fetch(url, init),
): Promise<T> {
  let response: Response;
  try {
    response = await send(url, {
      method: "POST",
      credentials,
      cache: "no-store",
      keepalive: url.endsWith("/logout"), // the request continues if the page is closed
      signal: abortAfter(REQUEST_PATIENCE_MS),
      headers: body ? { "Content-Type": "application/json", ...headers } : headers,
      body: body ? JSON.stringify(body) : null,
    });
    if (response.ok) return response.status === 204 ? (undefined as T) : await response.json();
  } catch (error) {
    throw new OfflineError("The service cannot be reached.", { cause: error });
  }
  throw await errorOf(response);
}

/** Return a signal that aborts after some time. React Native has no `AbortSignal.timeout`. */
export function abortAfter(delayMs: number): AbortSignal {
  if ("timeout" in AbortSignal) return AbortSignal.timeout(delayMs);
  const controller = new AbortController();
  unref(setTimeout(() => controller.abort(), delayMs));
  return controller.signal;
}

/** Let a Node process end although a timer or channel waits. Browsers have nothing of the kind. */
export function unref(waiting: unknown): void {
  (waiting as { unref?: () => void }).unref?.();
}

/** Retry temporary errors. Call `report` after the second one; throw `OfflineError` after the last one. */
export async function insist<T>(ask: () => Promise<T>, report = (): void => {}): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await ask();
    } catch (error) {
      const mayPass = error instanceof OfflineError || (error instanceof HandstampError && isPassing(error));
      if (!mayPass) throw error;
      const retryAfterMs = 1000 * ((error instanceof HandstampError && error.retryAfter) || 0);
      if (failures === 2) report();
      if (failures >= TRIES) throw new OfflineError("The service cannot be reached, or cannot answer now.", { cause: error });
      await new Promise((done) => setTimeout(done, Math.min(LONGEST_PAUSE_MS, Math.max(retryAfterMs, pauseMs(failures)))));
    }
  }
}

/** Exponential backoff with jitter. */
export const pauseMs = (failures: number): number =>
  Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);

/**
 * Return the result of `work`, or throw the signal's reason as soon as it is aborted. `work` itself goes on. Requests of React Native
 * may have no signal, and its signals have no reason.
 */
export function unlessAborted<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason ?? Object.assign(new Error("The request was aborted."), { name: "AbortError" }));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

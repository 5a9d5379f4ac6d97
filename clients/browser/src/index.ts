import { Session } from "./client.js";
import { CookieTransport } from "./cookie.js";
import { dpopTransport } from "./later.js";
import type { Client, Options } from "./types.js";

export { HandstampError, OfflineError } from "./errors.js";
export type { EndReason } from "./errors.js";
export type * from "./types.js";

export interface BrowserOptions extends Options {
  /**
   * Bind sessions to a key of this browser (DPoP, RFC 9449): a copy of their tokens is worthless without the key. The service must
   * take proofs; signing in at another one rejects.
   */
  dpop?: boolean;
}

/** Return a client. It asks the service whether the cookie belongs to a session; `onChange` reports it. Make one per page. */
export const createClient = ({ dpop, ...options }: BrowserOptions): Client =>
  new Session(options, dpop ? dpopTransport : (url) => new CookieTransport(url));

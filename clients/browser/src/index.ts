import { Session } from "./client.js";
import { CookieTransport } from "./cookie.js";
import type { Client, Options } from "./types.js";

export { HandstampError, OfflineError } from "./errors.js";
export type { EndReason } from "./errors.js";
export type { AccountMethods, Address, Client, MailSent, Options, Profile, Proof, Registration, State } from "./types.js";

/** Return a client. It asks the service whether the cookie belongs to a session; `onChange` reports it. Make one per page. */
export const createClient = (options: Options): Client => new Session(options, (url) => new CookieTransport(url));

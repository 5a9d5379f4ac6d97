export { createClient } from "./client.js";
export type { Client, Options, Profile, State } from "./client.js";
export { HandstampError, OfflineError } from "./errors.js";
export type { EndReason } from "./errors.js";

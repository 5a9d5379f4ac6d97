export { createClient } from "./client";
export type { Client, Options, Profile, State } from "./client";
export { HandstampError, OfflineError } from "./errors";
export type { EndReason } from "./errors";

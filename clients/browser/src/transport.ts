/**
 * How the refresh token is kept and sent, and the sign-out that the service has not confirmed yet. In browsers it is a cookie; a
 * native application keeps it in a store of its own.
 */
export interface Transport {
  /** Whether a session can be kept here. A server that renders pages for many visitors has no cookies. */
  readonly isUsable: boolean;
  /** Whether other tabs have the same session. */
  readonly isShared: boolean;
  /** How the tokens of a new session travel. */
  readonly delivery: "split" | "json";
  /** To which the codes of mails are bound, where there are no cookies. */
  ticket: string | undefined;
  /** Whether a sign-out is pending. */
  readonly isSigningOut: boolean;
  /** Take over what an earlier page, or start of the application, has left. */
  readonly load: () => Promise<void> | undefined;
  readonly beginSignOut: () => void;
  readonly finishSignOut: () => void;
  /** Forget the refresh token, because its session has ended. */
  readonly forget: () => void;
  /** Send a POST that may change the refresh token. Throws `HandstampError` and `OfflineError`. */
  readonly send: <T>(path: string, body?: object, headers?: Record<string, string>) => Promise<T>;
  /** Send a request that has the access token in `Authorization`, where `fetch` does not do. */
  readonly fetch?: (request: Request) => Promise<Response>;
  /** Return what a developer can mend, if the service cannot be reached. */
  readonly explain: () => Promise<string | undefined>;
}

/// <reference lib="esnext.disposable" preserve="true" />
import type { EndReason } from "./errors.js";

/** The sign-in state of this browser. */
export type State =
  /** The service has not answered yet. `online: false`: it could not be reached. `problem` is for developers to mend. */
  | { readonly status: "unknown"; readonly online: boolean; readonly problem?: string }
  /** Signed in. `online: false`: the client cannot renew the token at the moment; the session is still active. */
  | { readonly status: "signed-in"; readonly online: boolean; readonly problem?: string; readonly sessionId: string }
  /** Signed out. `reason` is set if a session was ended. */
  | { readonly status: "signed-out"; readonly reason?: EndReason };

export interface Options {
  /** The public URL of the service, such as `https://auth.example.com`. */
  url: string;
  /** Other origins to which `fetch` and `webSocket` may send the access token, such as `https://api.example.com`. */
  apis?: readonly string[];
}

/** The account that is signed in: the response of `GET /profile`. */
export interface Profile {
  id: string;
  email: string;
  emailVerified: boolean;
  roles: string[];
  createdAt: string;
  session: { id: string; createdAt: string; authenticatedAt: string; expiresAt: string };
}

/** All methods may be handed on by themselves: `const { fetch } = auth`. */
export interface Client extends Disposable {
  /** The current state. It is a new object after each change, and the same one until then. */
  readonly state: State;
  /** Return the current state. */
  readonly getState: () => State;
  /** Call `listener` with each new state. Returns a function that removes the listener. */
  readonly onChange: (listener: (state: State) => void) => () => void;
  /** Sign in. Rejects with `HandstampError` (`invalid_credentials`, `too_many_attempts` …) or `OfflineError`. */
  readonly signIn: (email: string, password: string) => Promise<void>;
  /**
   * Sign out at once in all tabs. Resolves when the service has ended the session. Rejects with `OfflineError` if the service
   * cannot be reached. The request is repeated when the network is back or the page is loaded again; this browser stays signed
   * out meanwhile.
   */
  readonly signOut: () => Promise<void>;
  /** End every session of the account. Rejects, and changes nothing, if the service cannot be reached. */
  readonly signOutEverywhere: () => Promise<void>;
  /** Return the account that is signed in. */
  readonly profile: () => Promise<Profile>;
  /**
   * The browser's `fetch` with the access token, which is renewed when necessary. Throws `TypeError` for an origin that may not
   * get the token, `HandstampError` (`session_ended`, `missing_token`) without a session, `OfflineError`, and the reason of an
   * aborted signal.
   */
  readonly fetch: (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;
  /**
   * Open a WebSocket with the access token. The token is one of the offered subprotocols, so it is in no URL and no log. The
   * server selects one of `protocols`, or `handstamp`. Rejects as `fetch` does.
   */
  readonly webSocket: (url: string | URL, protocols?: string | readonly string[]) => Promise<WebSocket>;
  /** Stop: no more timers, messages or renewals. The session is not ended. */
  readonly close: () => void;
}

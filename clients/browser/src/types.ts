/// <reference lib="esnext.disposable" preserve="true" />
import type { EndReason } from "./errors.js";

/** An operator of the service who looks at the account in the place of its person, for support. */
export interface Actor {
  /** The operator's account. */
  readonly id: string;
  /** Why, as the person reads it. */
  readonly reason: string;
  /** Whether applications may accept changes. */
  readonly write: boolean;
}

/** The sign-in state of this browser. */
export type State =
  /** The service has not answered yet. `online: false`: it could not be reached. `problem` is for developers to mend. */
  | { readonly status: "unknown"; readonly online: boolean; readonly problem?: string }
  /**
   * Signed in. `online: false`: the client cannot renew the token at the moment; the session is still active. `actor` is set if
   * an operator looks at the account: show a banner.
   */
  | {
      readonly status: "signed-in";
      readonly online: boolean;
      readonly problem?: string;
      readonly sessionId: string;
      readonly actor?: Actor;
    }
  /** Signed out. `reason` is set if a session was ended. */
  | { readonly status: "signed-out"; readonly reason?: EndReason };

export interface Options {
  /** The public URL of the service, such as `https://auth.example.com`. */
  url: string;
  /** Other origins to which `fetch` and `webSocket` may send the access token, such as `https://api.example.com`. */
  apis?: readonly string[];
  /**
   * Ask the person to prove again that it is them, because an API wants a fresh or a stronger proof for a request. The request
   * waits; with the proof it is sent again. Without one, the application gets the refusal.
   */
  onStepUp?: (needed: StepUp) => Promise<StepUpProof | undefined> | StepUpProof | undefined;
}

/** What shows that it is the person: a second factor. With `passkey` the browser asks for one. */
export type FactorProof = { code: string } | { recoveryCode: string } | { passkey: true };
/** With `recorded`, the application has asked its own user, and its server has told Handstamp (`sessions.step_up`). */
export type StepUpProof = FactorProof | { password: string } | { recorded: true };

/** What an API asks for (RFC 9470). */
export interface StepUp {
  /** The seconds that the proof may be old. */
  readonly maxAge?: number;
  /** What would do, such as `mfa` for two factors. Empty if any proof will do. */
  readonly acrValues: readonly string[];
  /** Why the previous proof was refused, if the person is asked again. */
  readonly error?: Error;
  /** The page of the service that asks the person, and then leads back to this page. */
  readonly page: string;
  /** Aborted when there is nothing to ask for any more: the person has signed out, or proved it in another tab. */
  readonly signal: AbortSignal;
}

/**
 * What a sign-in has come to. There is a session with `signed-in` alone. The other two need another step before `expiresIn` seconds
 * are over: `secondFactor`, or setting up a second factor.
 */
export type SignIn = { readonly status: "signed-in"; readonly sessionId: string } | SecondFactorNeeded | EnrolmentNeeded;

export type Factor = "totp" | "passkey" | "recovery_code";

/** The password was right, and the account has a second factor. */
export interface SecondFactorNeeded {
  readonly status: "second-factor";
  readonly challenge: string;
  /** What the person can prove it with. */
  readonly methods: readonly Factor[];
  readonly expiresIn: number;
}

/** The password was right. The service wants a second factor, which the account does not have yet. */
export interface EnrolmentNeeded {
  readonly status: "enrolment";
  readonly challenge: string;
  /** What the person can set up. */
  readonly enrol: readonly Factor[];
  readonly expiresIn: number;
}

/** The account that is signed in: the response of `GET /profile`. */
export interface Profile {
  id: string;
  /** `null` if the service keeps sessions for the accounts of another program. */
  email: string | null;
  emailVerified: boolean;
  /** What the person wants to be called; empty if unknown. */
  name: string;
  /** The tag of the language of the person's pages and mails; empty for that of each browser. */
  language: string;
  roles: string[];
  createdAt: string | null;
  session: { id: string; createdAt: string; authenticatedAt: string; expiresAt: string; actor?: Actor };
}

/** A mail is on its way, if there is one to send: the answer is the same whether the address has an account or not. */
export interface MailSent {
  email: string;
  /** The seconds for which the link of the mail is accepted. */
  expiresIn: number;
  /** The seconds for which its code is accepted. */
  codeExpiresIn: number;
}

/** What shows that the person reads the mail: the token of its link, or its code. The code works where the mail was asked for. */
export type Proof = { token: string } | { code: string };

/** The address of an account. */
export interface Address {
  email: string;
  emailVerified: boolean;
}

/** `created`: sign in now. `mail-sent`: the account begins to exist with `confirmRegistration`. */
export type Registration = { status: "created" } | ({ status: "mail-sent" } & MailSent);

/**
 * Methods for accounts and their mails. All reject with `HandstampError` or `OfflineError`. Codes of errors: `invalid_code` for a link or code that
 * is wrong, used, expired or void; `invalid_request` with `fields`; `too_many_attempts`; `not_found` if the service does not
 * offer this; `insufficient_user_authentication` if the person must sign in again first, with `signIn`.
 */
export interface MailMethods {
  /** Sign up. `name` is what the person wants to be called. */
  readonly register: (account: { email: string; password: string; name?: string }) => Promise<Registration>;
  /** Create the account and sign in. A link that was opened in another browser needs a `password`: the one of the sign-up is dropped. */
  readonly confirmRegistration: (proof: Proof, password?: string) => Promise<SignIn>;
  /** Send the mail that verifies the address again. Somebody who cannot sign in before gives address and password. */
  readonly requestVerification: (credentials?: { email: string; password: string }) => Promise<MailSent>;
  /** Verify the address. This does not sign in. */
  readonly verifyEmail: (proof: Proof) => Promise<Address>;
  /** Send a mail with which to sign in. */
  readonly requestCode: (email: string) => Promise<MailSent>;
  /** Sign in with the link or the code of that mail. */
  readonly signInWithCode: (proof: Proof) => Promise<SignIn>;
  /** Send a mail with which to set a new password. */
  readonly requestPasswordReset: (email: string) => Promise<MailSent>;
  /** Set a new password. Every session of the account ends. */
  readonly resetPassword: (proof: Proof, password: string) => Promise<void>;
  /** Set a new password. Every other session of the account ends. */
  readonly changePassword: (currentPassword: string, newPassword: string) => Promise<SignIn>;
  /** Change what the person wants to be called; empty removes it. */
  readonly changeName: (name: string) => Promise<Profile>;
  /** Send a mail to a new address. Needs a fresh sign-in. */
  readonly requestEmailChange: (email: string) => Promise<MailSent>;
  /** Give the account its new address. Its sessions go on. */
  readonly changeEmail: (proof: Proof) => Promise<Address>;
  /** Undo a change, with the token of the link that was sent to the former address. Every session of the account ends. */
  readonly undoEmailChange: (token: string) => Promise<void>;
  /**
   * Remove a first way to sign in that the person has not added, with the token of the link in the mail that told of it. Every
   * session of the account ends.
   */
  readonly undoFactor: (token: string) => Promise<void>;
  /** End every session of the account. Rejects, and changes nothing, if the service cannot be reached. */
  readonly signOutEverywhere: () => Promise<void>;
  /** Return all that is stored about the person, as JSON. Needs a fresh sign-in. */
  readonly exportData: () => Promise<Blob>;
  /** Delete the account. `email` is its address, which the person types to confirm. Needs a fresh sign-in. */
  readonly deleteAccount: (email: string) => Promise<void>;
}

/** An authenticator app that is being set up: the person scans the code, or types the secret. */
export interface NewTotp {
  readonly secret: string;
  /** What the QR code says, for a link on a telephone. */
  readonly uri: string;
  /** The QR code as SVG. */
  readonly qr: string;
  readonly enrolment: string;
}

/** How the person signs in. */
export interface Factors {
  readonly hasPassword: boolean;
  /** The authenticator app. */
  readonly totp: { readonly createdAt: string; readonly usedAt: string } | null;
  readonly passkeys: number;
  /** How many recovery codes are left. */
  readonly recoveryCodes: number;
  /** Whether the account must have a second factor. */
  readonly required: boolean;
}

/** A passkey of the account. */
export interface Passkey {
  readonly id: string;
  readonly name: string;
  /** Whether it is synced to other devices. */
  readonly backedUp: boolean;
  readonly createdAt: string;
  readonly usedAt: string;
}

export interface NewPasskey {
  /** What the person calls it. Without a name it is called as its maker calls it. */
  name?: string;
  /** Create it without a question, which browsers do after a sign-in with a saved password. Another ceremony ends the offer. */
  conditional?: boolean;
  signal?: AbortSignal;
  /** The sign-in that wants a second factor. */
  needed?: EnrolmentNeeded;
}

/**
 * The passkeys of the account. After each change the browser is told which ones are accepted. Codes of errors:
 * `passkey_cancelled`, `passkey_exists`, `passkey_unsupported`.
 */
export interface PasskeyMethods {
  readonly list: () => Promise<readonly Passkey[]>;
  /** Create a passkey on the device. With the first second factor come recovery codes, to be shown once. */
  readonly add: (options?: NewPasskey) => Promise<Passkey & { readonly recoveryCodes: readonly string[] }>;
  readonly rename: (id: string, name: string) => Promise<Passkey>;
  readonly remove: (id: string) => Promise<void>;
}

/** Second factors. Changes need a fresh proof, as of `stepUp`: otherwise `insufficient_user_authentication`. */
export interface FactorMethods {
  /** Finish a sign-in: with a second factor, or without one if it was set up during this sign-in. */
  readonly secondFactor: {
    (needed: SecondFactorNeeded, proof: FactorProof): Promise<SignIn>;
    (needed: EnrolmentNeeded): Promise<SignIn>;
  };
  readonly factors: () => Promise<Factors>;
  /** Set up an authenticator app: while signed in, or during a sign-in that wants a second factor. */
  readonly createTotp: (needed?: EnrolmentNeeded) => Promise<NewTotp>;
  /** Confirm it with its first code. Returns recovery codes, to be shown once, if the account has none. */
  readonly confirmTotp: (made: NewTotp, code: string, needed?: EnrolmentNeeded) => Promise<readonly string[]>;
  readonly removeTotp: () => Promise<void>;
  /** Replace the recovery codes. They are shown once. */
  readonly createRecoveryCodes: () => Promise<readonly string[]>;
}

/** A service with which the person signs in. */
export interface Identity {
  readonly id: string;
  /** Its name in the settings of the service. */
  readonly provider: string;
  /** What people call it. */
  readonly label: string;
  /** The person's address there; empty if it tells none. */
  readonly email: string;
  readonly createdAt: string;
  readonly usedAt: string;
}

/** Methods for signing in with other services, such as Google. They are named in the settings of the service. */
export interface ProviderMethods {
  /**
   * Leave this page to sign in with another service. The browser comes back to `returnTo`, by default this page, signed in; if
   * that failed, the sign-in page says why. `loginHint` is the address that the person may have there. `again`: the person must
   * prove there again who they are.
   */
  readonly signInWith: (provider: string, options?: { returnTo?: string; loginHint?: string; again?: boolean }) => Promise<never>;
  readonly identities: () => Promise<readonly Identity[]>;
  /** Leave this page to add another service to the account. The person must have signed in a short while ago. */
  readonly addIdentity: (provider: string, options?: { returnTo?: string }) => Promise<never>;
  readonly removeIdentity: (id: string) => Promise<void>;
}

/** Methods that are loaded when one of them is first used. */
export interface LateMethods extends MailMethods, FactorMethods, ProviderMethods {
  /**
   * Sign in with a passkey. With `conditional` the browser offers passkeys in a field with `autocomplete="username webauthn"`, until
   * the person picks one or another ceremony begins.
   */
  readonly signInWithPasskey: (options?: { conditional?: boolean; signal?: AbortSignal }) => Promise<SignIn>;
  readonly passkeys: PasskeyMethods;
  /** Prove again that it is the person. The session goes on, with a token that says so. */
  readonly stepUp: (proof: StepUpProof) => Promise<void>;
  /**
   * Open a WebSocket with the access token. The token is one of the offered subprotocols, so it is in no URL and no log. The
   * server selects one of `protocols`, or `handstamp`. Rejects as `fetch` does.
   */
  readonly webSocket: (url: string | URL, protocols?: string | readonly string[]) => Promise<WebSocket>;
}

/** All methods may be handed on by themselves: `const { fetch } = auth`. */
export interface Client extends LateMethods, Disposable {
  /** The current state. It is a new object after each change, and the same one until then. */
  readonly state: State;
  /** Return the current state. */
  readonly getState: () => State;
  /** Call `listener` with each new state. Returns a function that removes the listener. */
  readonly onChange: (listener: (state: State) => void) => () => void;
  /** Sign in. Rejects with `HandstampError` (`invalid_credentials`, `too_many_attempts` …) or `OfflineError`. */
  readonly signIn: (email: string, password: string) => Promise<SignIn>;
  /**
   * Sign out at once in all tabs. Resolves when the service has ended the session. Rejects with `OfflineError` if the service
   * cannot be reached. The request is repeated when the network is back or the page is loaded again; this browser stays signed
   * out meanwhile.
   */
  readonly signOut: () => Promise<void>;
  /** Return the account that is signed in. */
  readonly profile: () => Promise<Profile>;
  /**
   * The browser's `fetch` with the access token, which is renewed when necessary. Throws `TypeError` for an origin that may not
   * get the token, `HandstampError` (`session_ended`, `missing_token`) without a session, `OfflineError`, and the reason of an
   * aborted signal.
   */
  readonly fetch: (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;
  /** Stop: no more timers, messages or renewals. The session is not ended. */
  readonly close: () => void;
}

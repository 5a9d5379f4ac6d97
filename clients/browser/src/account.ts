import type { AccountMethods, MailSent, Proof, Registration } from "./types.js";

/** What the methods for accounts need of a client. */
export interface Requests {
  /** How the tokens of a new session travel. */
  readonly delivery: "split" | "json";
  /** Send a POST with the cookies. With `isRepeatable` it is sent once more if the answer is lost, and carried out once. */
  readonly ask: <T>(path: string, body: object, isRepeatable?: boolean) => Promise<T>;
  /** Send a request with the access token, and return what it answers. */
  readonly askSignedIn: <T>(path: string, method: "GET" | "POST", body?: object, read?: "json" | "blob") => Promise<T>;
  /** Send a request that begins a session. */
  readonly begin: (path: string, body: object) => Promise<void>;
  /** The same with the access token: the session of the token ends. */
  readonly beginAnew: (path: string, body: object) => Promise<void>;
  /** Remember that the account's sessions have ended, this one too. */
  readonly end: () => void;
  /** Ask the service for the state, because something outside of this client may have changed it. */
  readonly check: () => void;
  /** To which the codes of mails are bound, where there are no cookies. */
  ticket: string | undefined;
}

/** The answer 202. It has a ticket for clients without cookies. */
type MailAnswer = MailSent & { ticket?: string };

/** Return the methods for accounts. */
export function accountMethods(requests: Requests): AccountMethods {
  const { ask, askSignedIn, begin, beginAnew, end, check, delivery } = requests;

  const sent = ({ ticket, ...mail }: MailAnswer): MailSent => {
    if (ticket) requests.ticket = ticket;
    return mail;
  };

  /** Return a link's token or a mail's code as the service takes it. */
  const shown = (proof: Proof): object => {
    if ("token" in proof) return { token: proof.token };
    return requests.ticket ? { code: proof.code, ticket: requests.ticket } : { code: proof.code };
  };

  /** Send a proof. Its ticket has no use after that. */
  const prove = async <T>(proof: Proof, send: (shown: object) => Promise<T>): Promise<T> => {
    const answer = await send(shown(proof));
    requests.ticket = undefined;
    return answer;
  };

  const askForMailSignedIn = async (path: string, body?: object): Promise<MailSent> =>
    sent(await askSignedIn<MailAnswer>(path, "POST", body));

  return {
    register: async (account): Promise<Registration> => {
      const answer = await ask<MailAnswer | { user: object }>("/register", account, true);
      return "user" in answer ? { status: "created" } : { status: "mail-sent", ...sent(answer) };
    },
    confirmRegistration: (proof, password) =>
      prove(proof, (shown) => begin("/register/confirm", { ...shown, delivery, ...(password === undefined ? {} : { password }) })),
    requestVerification: async (credentials) =>
      credentials ? sent(await ask<MailAnswer>("/email/verify", credentials)) : askForMailSignedIn("/email/verify"),
    verifyEmail: (proof) => prove(proof, (shown) => ask("/email/verify/confirm", shown)),
    requestCode: async (email) => sent(await ask<MailAnswer>("/login/code", { email })),
    signInWithCode: (proof) => prove(proof, (shown) => begin("/login/code/confirm", { ...shown, delivery })),
    requestPasswordReset: async (email) => sent(await ask<MailAnswer>("/password/reset", { email })),
    resetPassword: async (proof, password) => {
      await prove(proof, (shown) => ask("/password/reset/confirm", { ...shown, newPassword: password }));
      check();
    },
    changePassword: (currentPassword, newPassword) => beginAnew("/password", { currentPassword, newPassword }),
    changeName: (name) => askSignedIn("/profile", "POST", { name }),
    requestEmailChange: (email) => askForMailSignedIn("/email/change", { email }),
    changeEmail: (proof) => prove(proof, (shown) => ask("/email/change/confirm", shown)),
    undoEmailChange: async (token) => {
      await ask("/email/change/undo", { token });
      check();
    },
    exportData: () => askSignedIn("/me/export", "GET", undefined, "blob"),
    deleteAccount: async (email) => {
      await askSignedIn("/me/delete", "POST", { email });
      end();
    },
  };
}

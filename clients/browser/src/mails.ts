import type { Requests } from "./methods.js";
import type { MailMethods, MailSent, Proof, Registration } from "./types.js";

/** The answer 202. It has a ticket for clients without cookies. */
type MailAnswer = MailSent & { ticket?: string };

/** Return the methods for accounts and their mails. */
export function mailMethods(requests: Requests): MailMethods {
  const { transport, call, callTwice, callSignedIn, begin, authorization, end } = requests;
  const { delivery } = transport;

  const sent = ({ ticket, ...mail }: MailAnswer): MailSent => {
    if (ticket) transport.ticket = ticket;
    return mail;
  };

  /** Return a link's token or a mail's code as the service takes it. */
  const shown = (proof: Proof): object => {
    if ("token" in proof) return { token: proof.token };
    return transport.ticket ? { code: proof.code, ticket: transport.ticket } : { code: proof.code };
  };

  /** Send a proof. Its ticket has no use after that. */
  const prove = async <T>(proof: Proof, send: (shown: object) => Promise<T>): Promise<T> => {
    const answer = await send(shown(proof));
    transport.ticket = undefined;
    return answer;
  };

  /** All sessions of an account have ended, which may or may not be this one's. */
  const check = (): void => {
    if (requests.getState().status !== "signed-out") requests.renew().catch(() => {});
  };

  const askForMailSignedIn = async (path: string, body?: object): Promise<MailSent> =>
    sent(await callSignedIn<MailAnswer>(path, "POST", body));

  return {
    register: async (account): Promise<Registration> => {
      const answer = await callTwice<MailAnswer | { user: object }>("/register", account);
      return "user" in answer ? { status: "created" } : { status: "mail-sent", ...sent(answer) };
    },
    confirmRegistration: (proof, password) =>
      prove(proof, (shown) => begin("/register/confirm", { ...shown, delivery, ...(password === undefined ? {} : { password }) })),
    requestVerification: async (credentials) =>
      credentials ? sent(await call<MailAnswer>("/email/verify", credentials)) : askForMailSignedIn("/email/verify"),
    verifyEmail: (proof) => prove(proof, (shown) => call("/email/verify/confirm", shown)),
    requestCode: async (email) => sent(await call<MailAnswer>("/login/code", { email })),
    signInWithCode: (proof) => prove(proof, (shown) => begin("/login/code/confirm", { ...shown, delivery })),
    requestPasswordReset: async (email) => sent(await call<MailAnswer>("/password/reset", { email })),
    resetPassword: async (proof, password) => {
      await prove(proof, (shown) => call("/password/reset/confirm", { ...shown, newPassword: password }));
      check();
    },
    changePassword: async (currentPassword, newPassword) =>
      begin("/password", { currentPassword, newPassword }, await authorization()),
    changeName: (name) => callSignedIn("/profile", "POST", { name }),
    requestEmailChange: (email) => askForMailSignedIn("/email/change", { email }),
    changeEmail: (proof) => prove(proof, (shown) => call("/email/change/confirm", shown)),
    undoEmailChange: async (token) => {
      await call("/email/change/undo", { token });
      check();
    },
    undoFactor: async (token) => {
      await call("/factors/undo", { token });
      check();
    },
    exportData: () => callSignedIn("/me/export", "GET", undefined, {}, "blob"),
    signOutEverywhere: async () => {
      await callSignedIn("/logout-everywhere", "POST");
      end("logout_everywhere");
    },
    deleteAccount: async (email) => {
      await callSignedIn("/me/delete", "POST", { email });
      end();
    },
  };
}

import type { Requests } from "./methods.js";
import { signWithPasskey } from "./passkeys.js";
import type { EnrolmentNeeded, FactorMethods, FactorProof, NewTotp, SecondFactorNeeded, SignIn, StepUpProof } from "./types.js";

interface Codes {
  readonly recoveryCodes: string[];
}

type Needed = (SecondFactorNeeded | EnrolmentNeeded) & { ticket?: string };

/** Return what shows the service which sign-in it is. The ticket is for clients without cookies. */
export const shown = ({ challenge, ticket }: Needed): object => ({ challenge, ...(ticket ? { ticket } : {}) });

/** Send a proof as the service takes it. With a passkey, the person is asked now. */
export function prove<T>(
  requests: Requests,
  proof: FactorProof | StepUpProof,
  about: object,
  send: (body: object) => Promise<T>,
  headers = {},
): Promise<T> {
  if (!("passkey" in proof)) return send({ ...about, ...proof });
  return signWithPasskey(requests, { about, headers }, ({ challenge, ...signed }) =>
    send({ ...signed, ...about, passkeyChallenge: challenge }),
  );
}

/** Send a request with the access token. If the answer is lost, ask once more: recovery codes are shown once. */
export async function repeatable<T>(requests: Requests, path: string, body: object): Promise<T> {
  const key = requests.key();
  const send = (): Promise<T> => requests.callSignedIn<T>(path, "POST", body, key ? { "Idempotency-Key": key } : {});
  return send().catch((error) => (key && error.name === "OfflineError" ? send() : Promise.reject(error)));
}

/** Return the methods for second factors. */
export function factorMethods(requests: Requests): FactorMethods {
  const { call, callTwice, callSignedIn, begin } = requests;
  const makeCodes = async (path: string, body: object): Promise<readonly string[]> =>
    (await repeatable<Codes>(requests, path, body)).recoveryCodes;
  return {
    secondFactor: async (needed: Needed, proof?: FactorProof) => {
      const send = (body: object): Promise<SignIn> => begin("/login/second-factor", body);
      return proof ? prove(requests, proof, shown(needed), send) : send(shown(needed));
    },
    factors: () => callSignedIn("/factors", "GET"),
    createTotp: (needed) => (needed ? call<NewTotp>("/totp", shown(needed)) : callSignedIn("/totp", "POST", {})),
    confirmTotp: async ({ enrolment }, code, needed) => {
      const body = { enrolment, code };
      if (!needed) return makeCodes("/totp/confirm", body);
      return (await callTwice<Codes>("/totp/confirm", { ...body, ...shown(needed) })).recoveryCodes;
    },
    removeTotp: () => callSignedIn("/totp", "DELETE"),
    createRecoveryCodes: () => makeCodes("/recovery-codes", {}),
  };
}

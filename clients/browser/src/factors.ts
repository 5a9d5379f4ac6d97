import type { Requests } from "./methods.js";
import { signWithPasskey } from "./passkeys.js";
import type { EnrolmentNeeded, FactorMethods, FactorProof, NewTotp, SecondFactorNeeded, StepUpProof } from "./types.js";

interface Codes {
  readonly recoveryCodes: string[];
}

type Needed = (SecondFactorNeeded | EnrolmentNeeded) & { ticket?: string };

/** Return what shows the service which sign-in it is. The ticket is for clients without cookies. */
export const shown = ({ challenge, ticket }: Needed): object => ({ challenge, ...(ticket ? { ticket } : {}) });

/** Return a proof as the service takes it. With a passkey, the person is asked now. */
export const provable = async (requests: Requests, proof: FactorProof | StepUpProof, about: object, headers = {}): Promise<object> =>
  "passkey" in proof ? signWithPasskey(requests, "passkeyChallenge", { about, headers }) : proof;

/** Return the methods for second factors. */
export function factorMethods(requests: Requests): FactorMethods {
  const { call, callTwice, callSignedIn, begin } = requests;

  /** If the answer is lost, ask once more: codes are shown once. */
  const makeCodes = async (path: string, body: object): Promise<readonly string[]> => {
    const key = requests.key();
    const send = (): Promise<Codes> => callSignedIn<Codes>(path, "POST", body, key ? { "Idempotency-Key": key } : {});
    const isLost = (error: unknown): boolean => Boolean(key) && (error as Error).name === "OfflineError";
    const answer = await send().catch((error) => (isLost(error) ? send() : Promise.reject(error)));
    return answer.recoveryCodes;
  };

  return {
    secondFactor: async (needed: Needed, proof?: FactorProof) =>
      begin("/login/second-factor", { ...shown(needed), ...(proof && (await provable(requests, proof, shown(needed)))) }),
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

/** Why a session is over. */
export type EndReason =
  | "logout" | "logout_everywhere" | "reuse" | "idle" | "expired" | "password_changed" | "disabled" | "admin";

interface Problem {
  code?: string;
  detail?: string;
  reason?: EndReason;
  fields?: { name: string; problem: string }[];
}

/** The service answered, and the answer was no (RFC 9457). Switch on `code`; `message` is for people. */
export class HandstampError extends Error {
  override readonly name = "HandstampError";

  constructor(
    readonly code: string,
    readonly status: number,
    message: string,
    /** Why the session is over, with `session_ended`. */
    readonly reason?: EndReason,
    /** Each field that is wrong, with status 422. */
    readonly fields: readonly { name: string; problem: string }[] = [],
    /** Seconds after which to try again, with 429 and 503. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

/** The service could not be reached, or could not answer now. Nobody is signed out by that. */
export class OfflineError extends Error {
  override readonly name = "OfflineError";
}

/** Return what a refusal says. Anything that is no problem of ours, such as a proxy's page, has the code `unknown`. */
export async function errorOf(response: Response): Promise<HandstampError> {
  let problem: Problem = {};
  try {
    problem = await response.json();
  } catch {
    // not ours
  }
  const { code = "unknown", detail = `The service answered ${response.status}.`, reason, fields } = problem;
  const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
  return new HandstampError(code, response.status, detail, reason, fields, retryAfter);
}

/** Whether a refusal says nothing about the session: try again later. */
export const isPassing = (error: HandstampError): boolean => error.status === 429 || error.status >= 500;

/** Why a session has ended. */
export type EndReason =
  | "logout" | "logout_everywhere" | "reuse" | "idle" | "expired" | "password_changed" | "disabled" | "admin"
  | "session_limit" | "unbound" | "provider_logout" | "impersonation_ended";

interface Problem {
  code?: string;
  detail?: string;
  reason?: EndReason;
  fields?: { name: string; problem: string }[];
}

/** The service refused a request (RFC 9457). Switch on `code`; `message` is for people. */
export class HandstampError extends Error {
  override readonly name = "HandstampError";

  constructor(
    readonly code: string,
    readonly status: number,
    message: string,
    /** Why the session has ended, with `session_ended`. */
    readonly reason?: EndReason,
    /** The invalid fields, with status 422. */
    readonly fields: readonly { name: string; problem: string }[] = [],
    /** The seconds to wait before a retry, with 429 and 503. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

/** The service could not be reached or is unavailable. The session is not affected. */
export class OfflineError extends Error {
  override readonly name = "OfflineError";
}

/** Return the error of a response. Without a problem document, as in a proxy's page, its code is `unknown`. */
export async function errorOf(response: Response): Promise<HandstampError> {
  let problem: Problem = {};
  try {
    problem = await response.json();
  } catch {
    // not a problem document
  }
  const { code = "unknown", detail = `The service answered ${response.status}.`, reason, fields } = problem;
  const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
  return new HandstampError(code, response.status, detail, reason, fields, retryAfter);
}

/** Return whether an error is temporary and says nothing about the session, as if a browser has not renewed its bound cookie yet. */
export const isPassing = ({ status, code }: HandstampError): boolean => status === 429 || status >= 500 || code === "proof_required";

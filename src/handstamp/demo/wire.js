// Requests as they really are: sent with fetch, and written down as both sides said them, with tokens shortened.

const SHOWN = ["content-type", "www-authenticate", "cache-control", "retry-after"];
const BY_BROWSER = "   (added by the browser; script cannot see it)";

/** The service did not answer at all. */
export class Away extends Error {}

/** Return text in which of every token the first six and the last four characters are left. */
export const shortened = (text) => text.replace(/(eyJ[\w-]{3})[\w-]*\.[\w-]+\.[\w-]*([\w-]{4})/g, "$1…$2");

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const pretty = (text) => shortened(parsed(text) === undefined ? text : JSON.stringify(parsed(text), null, 2));
const hidden = (name, value) => (/password/i.test(name) ? "••••••••" : value);

function requestText({ method, path, headers, json }, cookie) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  if (cookie) lines.push(`cookie: ${cookie}${BY_BROWSER}`);
  return shortened([`${method} ${path}`, ...lines, ...(json ? ["", JSON.stringify(json, hidden, 2)] : [])].join("\n"));
}

function answerText(response, text, setCookie) {
  const lines = SHOWN.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
  const cookies = setCookie.map((line) => `set-cookie: ${line}`);
  const status = `${response.status} ${response.statusText}`.trim();
  return [status, ...lines, ...cookies, ...(text ? ["", pretty(text)] : [])].join("\n");
}

/**
 * Send one request; return how it went: `status` (0: the answer was lost), `body`, which generation of the card was `sent` and
 * `given`, the shortened `card` itself, and both texts. `answer` asks the demonstration to let the answer come "late", or to hold it until `hangUp`.
 * Throws `Away`.
 */
export async function exchange({ method, path, token, json, answer, hangUp }) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (json) headers["content-type"] = "application/json";
  if (answer) headers["park-answer"] = answer;
  const request = { method, path, headers, json };
  let response, text;
  try {
    response = await fetch(path, { method, headers, body: json && JSON.stringify(json), signal: hangUp, cache: "no-store" });
    text = await response.text();
  } catch {
    if (!hangUp?.aborted) throw new Away();
    return { method, path, status: 0, request: requestText(request), answer: "No answer: the connection was closed." };
  }
  const overheard = parsed(response.headers.get("park-overheard")) ?? { setCookie: [] };
  return {
    method,
    path,
    status: response.status,
    body: parsed(text),
    sent: overheard.sent,
    given: overheard.given,
    card: overheard.setCookie[0]?.split(";")[0],
    request: requestText(request, overheard.cookie),
    answer: answerText(response, text, overheard.setCookie),
  };
}

/** Ask the demonstration itself, which is no part of the service. Throws `Away`. */
export async function askPark(method, path, json) {
  try {
    const response = await fetch(path, { method, body: json && JSON.stringify(json), cache: "no-store" });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return await response.json();
  } catch {
    throw new Away();
  }
}

/** Return how the thief's own request went, which its own client made. */
export async function thiefs(refreshToken) {
  const told = await askPark("POST", "/park/thief", { refreshToken });
  const overheard = parsed(told.overheard);
  return {
    method: "POST",
    path: "/refresh",
    status: told.status,
    body: parsed(told.body),
    sent: overheard.sent,
    given: overheard.given,
    request: ["POST /refresh", ...told.sent].join("\n"),
    answer: [`${told.status} ${told.reason}`, ...told.received, "", pretty(told.body)].join("\n"),
  };
}

// Sends requests with fetch and records both sides as text, with tokens shortened.

const SHOWN = ["content-type", "www-authenticate", "cache-control", "retry-after"];
const BY_BROWSER = "   (added by the browser; script cannot see it)";

/** Thrown if the service did not answer. */
export class Away extends Error {}

/** Shorten every token in a text to its first six and last four characters. */
const shorten = (text) => text.replace(/(eyJ[\w-]{3})[\w-]*\.[\w-]+\.[\w-]*([\w-]{4})/g, "$1…$2");

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Return the claims of a token. */
export const claimsOf = (token) => JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));

/** Return the generation of a card, undefined if there is none. */
export const generationOf = (card) => (card ? claimsOf(card).gen : undefined);

const format = (text) => shorten(parse(text) === undefined ? text : JSON.stringify(parse(text), null, 2));
const hidePassword = (name, value) => (/password/i.test(name) ? "••••••••" : value);

function requestText({ method, path, headers, json }, cookie) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  if (cookie) lines.push(`cookie: ${cookie}${BY_BROWSER}`);
  return shorten([`${method} ${path}`, ...lines, ...(json ? ["", JSON.stringify(json, hidePassword, 2)] : [])].join("\n"));
}

function answerText(response, text, setCookie) {
  const lines = SHOWN.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
  const cookies = setCookie.map((line) => `set-cookie: ${line}`);
  const status = `${response.status} ${response.statusText}`.trim();
  return [status, ...lines, ...cookies, ...(text ? ["", format(text)] : [])].join("\n");
}

/**
 * Send one request and return its result:
 *
 * - `status` (0 if the answer was lost) and `body`,
 * - `sent` and `given`: the card's generation in the request and in the answer; `card`: the new card, shortened,
 * - `request` and `answer`: both sides as text.
 *
 * `proof` is that of the key of a bound session. `alone` sends no cookies. `answer: "late"` asks the demonstration to delay the answer; `"lost"`, to hold it until `hangUp` aborts. Throws `Away`.
 */
export async function exchange({ method, path, token, json, proof, alone, answer, hangUp }) {
  const headers = {};
  if (token) headers.authorization = `${proof ? "DPoP" : "Bearer"} ${token}`;
  if (json) headers["content-type"] = "application/json";
  if (proof) headers.dpop = proof;
  if (answer) headers["park-answer"] = answer;
  const request = { method, path, headers, json };
  let response, text;
  try {
    response = await fetch(path, { method, headers, body: json && JSON.stringify(json), signal: hangUp, cache: "no-store", credentials: alone ? "omit" : "same-origin" });
    text = await response.text();
  } catch {
    if (!hangUp?.aborted) throw new Away();
    return { method, path, status: 0, request: requestText(request), answer: "No answer: the connection was closed." };
  }
  const overheard = parse(response.headers.get("park-overheard")) ?? { setCookie: [] };
  const body = parse(text);
  return {
    method,
    path,
    status: response.status,
    body,
    sent: overheard.sent ?? generationOf(json?.refreshToken),
    given: overheard.given ?? generationOf(body?.refreshToken),
    card: overheard.setCookie[0]?.split(";")[0],
    request: requestText(request, overheard.cookie),
    answer: answerText(response, text, overheard.setCookie),
  };
}

/** Send a request to the demonstration itself, which is not part of the service. Throws `Away`. */
export async function askPark(method, path, json) {
  try {
    const response = await fetch(path, { method, body: json && JSON.stringify(json), cache: "no-store" });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return await response.json();
  } catch {
    throw new Away();
  }
}

/** Let the thief's own client refresh with a copied card; return its result, as `exchange` does. Throws `Away`. */
export async function renewAsThief(refreshToken) {
  const path = "/refresh";
  const result = await askPark("POST", "/park/thief", { refreshToken });
  const overheard = parse(result.overheard);
  return {
    method: "POST",
    path,
    status: result.status,
    body: parse(result.body),
    sent: overheard.sent,
    given: overheard.given,
    request: [`POST ${path}`, ...result.sent].join("\n"),
    answer: [`${result.status} ${result.reason}`, ...result.received, "", format(result.body)].join("\n"),
  };
}

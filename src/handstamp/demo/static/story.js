// The story: what each button does. Nothing is simulated: each button sends real requests and shows the real answers.

import { show } from "./conversation.js";
import { makeKey } from "./key.js";
import * as visitor from "./visitor.js";
import { exchange, renewAsThief } from "./wire.js";

const MIN_LEFT_S = 5; // the old wristband must be refused for the sign-out, not because it has expired
const LEEWAY_S = 5; // the clock difference that verifiers allow
const BEAT_MS = 900; // a pause between steps, so that people can follow
const CARD = "with the card, as a cookie";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Send a request, show it in the conversation, and return how it went. `meaning` explains the result in words. */
async function send(request, travelled, meaning) {
  const result = await exchange(request);
  show(result, travelled, meaning(result));
  if (result.body?.code === "session_ended") await visitor.look();
  return result;
}

const words = ({ body, status }) => body?.detail ?? `Status ${status}.`;

/** Sign in. Return the problem in words, or an empty string. */
export async function signIn(email, password) {
  const result = await send({ method: "POST", path: "/login", json: { email, password } }, "with the password", (result) =>
    result.status === 200 ? "Signed in. The wristband came in the body, the card as a cookie with HttpOnly." : words(result));
  if (result.status !== 200) return words(result);
  visitor.forget();
  visitor.take(result.body);
  await visitor.look();
  return "";
}

async function ride(meaning = describeRide) {
  return await send({ method: "GET", path: "/profile", token: visitor.token() }, "with the wristband, in a header", meaning);
}

function describeRide({ status, body }) {
  if (status === 200 && visitor.secondsLeft() === 0) return "Still accepted: verifiers allow five seconds for clocks that differ (leeway).";
  if (status === 200) return `Welcome, ${body.email}.`;
  if (body.code === "expired_token") return "Refused: the wristband has expired. The card gets you the next one.";
  return `Refused: ${body.detail}`;
}

async function renew({ answer, meaning = describeRenewal, isQuiet = false } = {}) {
  const result = await send({ method: "POST", path: "/refresh", answer }, CARD, meaning);
  if (result.status === 200) visitor.take(result.body);
  if (!isQuiet) await visitor.look();
  return result;
}

const describeRenewal = (result) =>
  result.status === 200 ? `A wristband, and card ${result.given} in place of card ${result.sent} (rotation).` : words(result);

// --- the buttons

async function enterRide() {
  const { status, body } = await ride();
  if (status === 200) return "Accepted: the service checked the signature, the expiry time, and that your session is active.";
  if (body.code === "expired_token") return "The wristband has expired, but the session is still active. The card gets you the next wristband.";
  return `No ride: ${body.detail}`;
}

async function waitUntilOut(say, stop) {
  say("Watch the wristband. No request is sent meanwhile.");
  while (visitor.secondsLeft() > 0 && !stop.aborted) await pause(100);
  if (!stop.aborted) say("It has expired. Wait five more seconds, which services allow for clocks that differ (leeway).");
  for (let waited = 0; waited < (LEEWAY_S + 1) * 1000 && !stop.aborted; waited += 100) await pause(100);
  if (stop.aborted) return "Stopped waiting. Press any button.";
  const { body } = await ride();
  return body.code === "expired_token"
    ? "Refused with expired_token. A stolen wristband would be useless now, too. The card gets you the next one."
    : `The service says: ${body.detail ?? "accepted"}`;
}

async function renewOnce() {
  const result = await renew();
  if (result.status !== 200) return words(result);
  return `A fresh wristband, and one more hole: the card is generation ${result.given}, and generation ${result.sent} is an old copy from now on.`;
}

async function renewTwice() {
  const late = { answer: "late", isQuiet: true };
  const [one, other] = await Promise.all([renew(late), renew({ ...late, meaning: describeSecondTab })]);
  await visitor.look();
  if (one.status !== 200 || other.status !== 200) return words(one.status === 200 ? other : one);
  const isSame = one.card === other.card && one.sent === other.sent;
  return isSame
    ? `Both showed card ${one.sent} and both got the same card ${one.given}. A repeat within ten seconds gets the same answer (grace), so the session continues.`
    : `One tab got card ${one.given}, the other card ${other.given}: the second request was sent after the first answer.`;
}

const describeSecondTab = (result) =>
  result.status === 200 ? `The other tab showed card ${result.sent} as well, and got card ${result.given}: the same.` : words(result);

async function loseAnswer(say) {
  const before = visitor.generation();
  const line = new AbortController();
  const lost = send({ method: "POST", path: "/refresh", answer: "lost", hangUp: line.signal }, CARD,
    () => "The service renewed, but the connection broke before its answer arrived.");
  for (let tries = 0; visitor.generation() === before && tries < 50; tries += 1) {
    await pause(100);
    await visitor.look();
  }
  line.abort();
  await lost;
  say(`The service is at generation ${visitor.generation()}, the browser still has card ${before}. A strict server would end the session now. The page tries again …`);
  await pause(2 * BEAT_MS);
  const result = await renew({ meaning: (result) => result.status === 200
    ? `Tried again with card ${result.sent}, and got the card ${result.given} that was lost (grace).` : words(result) });
  return result.status === 200 ? `You have card ${result.given}, the one that was lost. A lost answer does not end the session.` : words(result);
}

async function stealCard(say) {
  const copied = await exchange({ method: "POST", path: "/park/copy" });
  show({ who: "the thief", ...copied }, "this demonstration's own way",
    `Copied card ${visitor.generation()}, as malware on your machine could, and a web page could not.`);
  const { refreshToken } = copied.body;
  say(`A thief has copied card ${visitor.generation()}, and nothing shows it. You continue …`);
  for (const _ of ["once", "twice"]) {
    await pause(BEAT_MS);
    const result = await renew();
    if (result.status !== 200) return words(result);
  }
  say("Now the thief shows the old copy …");
  await pause(2 * BEAT_MS);
  const result = await renewAsThief(refreshToken);
  const isCaught = result.body?.reason === "reuse";
  show({ who: "the thief", ...result }, "with the copy", isCaught
    ? `Card ${result.sent} is an old copy: reuse detection ends the session for every holder of a card.` : `The service says ${result.status}.`);
  await visitor.look();
  await pause(BEAT_MS);
  await ride();
  return isCaught
    ? "The thief got no wristband. Yours is void too, before its time: the service cannot tell thief and owner apart, so it signs out both. You can sign in again, the thief cannot."
    : "The thief got a wristband: the copy was not old enough.";
}

const PROOF = "with a proof by the key";
const STOLEN = "with every token, without the key";

/** Use copies of both tokens in each way that is open to a thief. Return whether each was refused. */
async function tryAsThief({ accessToken, refreshToken }) {
  const sign = await makeKey();
  const refusals = [];
  for (const request of [
    { method: "POST", path: "/refresh", json: { refreshToken } },
    { method: "POST", path: "/refresh", json: { refreshToken }, proof: await sign("POST", "/refresh") },
    { method: "GET", path: "/profile", token: accessToken },
  ]) {
    const result = await exchange({ ...request, alone: true });
    const isRefused = ["invalid_dpop_proof", "invalid_token"].includes(result.body?.code);
    const meaning = request.token ? "Refused: this wristband needs a proof at each ride." : "Refused, and nothing was written: the session goes on.";
    show({ who: "the thief", ...result }, request.proof ? "with every token, and a key of the thief's own" : STOLEN,
      isRefused ? meaning : `The service says ${result.status}.`);
    refusals.push(isRefused);
  }
  return refusals.every(Boolean);
}

async function stealBoundCard(say) {
  const [email, password] = ["email", "password"].map((id) => document.getElementById(id).value);
  say("You sign in again, because a card is bound at the sign-in. Browsers bind cookies by themselves (DBSC), but only over https. This demonstration is http, so the page makes a key and signs its requests (DPoP) …");
  await pause(BEAT_MS);
  const sign = await makeKey();
  const bound = await send({ method: "POST", path: "/login", json: { email, password, delivery: "json" }, proof: await sign("POST", "/login") }, PROOF,
    (result) => (result.status === 200 ? "Both tokens are bound to the key. The private key stays in the browser, and no script can read it." : words(result)));
  if (bound.status !== 200) return words(bound);
  visitor.forget();
  visitor.take(bound.body);
  await visitor.look();
  say("A thief has copied every token, and uses the copies at once …");
  await pause(BEAT_MS);
  const early = await tryAsThief(bound.body);
  say("You renew: your browser has the key …");
  await pause(BEAT_MS);
  const { refreshToken } = bound.body;
  const renewed = await send({ method: "POST", path: "/refresh", json: { refreshToken }, proof: await sign("POST", "/refresh") }, PROOF,
    (result) => (result.status === 200 ? `The proof fits: card ${result.given} in place of card ${result.sent}.` : words(result)));
  if (renewed.status === 200) visitor.take(renewed.body);
  say("The thief tries the copies again, which are old now …");
  await pause(BEAT_MS);
  const late = await tryAsThief(bound.body);
  const token = visitor.token();
  const { status } = await send({ method: "GET", path: "/profile", token, proof: await sign("GET", "/profile", token) }, PROOF, describeRide);
  await visitor.look();
  const isSafe = early && late && renewed.status === 200 && status === 200;
  await signIn(email, password); // without binding: the other steps show how a card works that is not bound
  return isSafe
    ? "The thief had every token and got nowhere: no wristband, no ride, and no way to sign you out with the old copy. You stayed. (You are signed in anew, without binding, for the other steps.)"
    : "That went another way than it should: look at the conversation.";
}

async function signOut() {
  if (visitor.secondsLeft() < MIN_LEFT_S) await renew();
  const left = Math.floor(visitor.secondsLeft());
  await send({ method: "POST", path: "/logout" }, CARD, () => "The session has ended on the service's record; the cookie is deleted.");
  await visitor.look();
  await pause(BEAT_MS);
  const { status } = await ride();
  return status === 401
    ? `The old wristband had ${left} seconds left and a valid signature, and it is refused at once.`
    : `The service says ${status}.`;
}

/** The buttons in the order of the story. `alive`: the button needs an active session; otherwise any wristband is enough, even a void one. */
export const STEPS = [
  { name: "Enter a ride", what: "Show the wristband: GET\u00a0/profile with the access token.", run: enterRide },
  { name: "Wait until it expires", what: "Wait 30 seconds, then try the same ride.", run: waitUntilOut, alive: true, stop: "Stop waiting" },
  { name: "Renew", what: "Show the card: POST\u00a0/refresh punches the next hole (rotation) and gives a wristband.", run: renewOnce },
  { name: "Renew in two tabs at once", what: "Two requests with the same cookie at the same moment, as two tabs would send them.", run: renewTwice, alive: true },
  { name: "Lose an answer", what: "The service renews, the connection breaks before the answer arrives, and the page tries again.", run: loseAnswer, alive: true },
  { name: "Steal the card", what: "A thief copies it, you renew twice, then the thief uses the old copy.", run: stealCard, alive: true },
  { name: "Sign out, then try the old wristband", what: "POST\u00a0/logout, then a ride with a wristband that has not expired.", run: signOut, alive: true },
  { name: "Bind the card, then steal everything", what: "You sign in, both tokens are bound to a key of this browser (DPoP), and a thief copies them.", run: stealBoundCard, always: true },
];

/** Renew if the page was loaded during an active session: its memory is empty then. Return a sentence, or an empty string. */
export async function comeBack() {
  await visitor.look();
  if (!visitor.isIn()) return "";
  await renew({ meaning: (result) => (result.status === 200 ? "The page was loaded again and its memory is empty; the card brought a wristband." : words(result)) });
  return "Welcome back. The page's memory was empty, and the card got you a wristband without a password.";
}

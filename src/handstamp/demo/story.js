// The story: what each button does. Nothing is played: each makes the requests that it says, and says what came back.

import { show } from "./conversation.js";
import * as visitor from "./visitor.js";
import { exchange, thiefs } from "./wire.js";

const AT_LEAST_LEFT_S = 5; // so that it is not the clock that refuses a wristband
const LEEWAY_S = 5; // how far services let clocks differ
const BEAT_MS = 900; // so that people can follow
const CARD = "with the card, as a cookie";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function tell(request, travelled, meaning) {
  const told = await exchange(request);
  show(told, travelled, meaning(told));
  if (told.body?.code === "session_ended") await visitor.look();
  return told;
}

const words = ({ body, status }) => body?.detail ?? `Status ${status}.`;

/** Sign in; return the problem in words, or nothing. */
export async function signIn(email, password) {
  const told = await tell({ method: "POST", path: "/login", json: { email, password } }, "with the password", (told) =>
    told.status === 200 ? "Signed in. The wristband came in the body, the card as a cookie with HttpOnly." : words(told));
  if (told.status !== 200) return words(told);
  visitor.forget();
  visitor.take(told.body);
  await visitor.look();
  return "";
}

async function ride(meaning = rideMeans) {
  return await tell({ method: "GET", path: "/profile", token: visitor.token() }, "with the wristband, in a header", meaning);
}

function rideMeans({ status, body }) {
  if (status === 200 && visitor.secondsLeft() === 0) return "Still let in: five seconds are allowed for clocks that differ (leeway).";
  if (status === 200) return `Welcome, ${body.email}.`;
  if (body.code === "expired_token") return "Refused: the wristband has run out. The card gets you the next one.";
  return `Refused: ${body.detail}`;
}

async function renew({ answer, meaning = renewalMeans, isQuiet = false } = {}) {
  const told = await tell({ method: "POST", path: "/refresh", answer }, CARD, meaning);
  if (told.status === 200) visitor.take(told.body);
  if (!isQuiet) await visitor.look();
  return told;
}

const renewalMeans = (told) =>
  told.status === 200 ? `A wristband, and card ${told.given} in place of card ${told.sent} (rotation).` : words(told);

// --- the buttons

async function enterRide() {
  const { status, body } = await ride();
  if (status === 200) return "You are in: the service checked the signature, the time, and that your visit is alive.";
  if (body.code === "expired_token") return "The wristband has run out, and that is all: the visit is alive, and the card gets you the next one.";
  return `No ride: ${body.detail}`;
}

async function waitUntilOut(say, stop) {
  say("Watch the wristband. Nothing is sent while it runs down.");
  while (visitor.secondsLeft() > 0 && !stop.aborted) await pause(100);
  if (!stop.aborted) say("It has run out. Five seconds more, which services allow for clocks that differ (leeway).");
  for (let waited = 0; waited < (LEEWAY_S + 1) * 1000 && !stop.aborted; waited += 100) await pause(100);
  if (stop.aborted) return "Stopped waiting. Go on as you like.";
  const { body } = await ride();
  return body.code === "expired_token"
    ? "Refused, with expired_token. A stolen wristband would be worth as little by now. The card gets you the next one."
    : `The service says: ${body.detail ?? "let in"}`;
}

async function renewOnce() {
  const told = await renew();
  if (told.status !== 200) return words(told);
  return `A fresh wristband, and one more hole: the card is generation ${told.given}, and generation ${told.sent} is an old copy from now on.`;
}

async function renewTwice() {
  const late = { answer: "late", isQuiet: true };
  const [one, other] = await Promise.all([renew(late), renew({ ...late, meaning: secondTabMeans })]);
  await visitor.look();
  if (one.status !== 200 || other.status !== 200) return words(one.status === 200 ? other : one);
  const isSame = one.card === other.card && one.sent === other.sent;
  return isSame
    ? `Both showed card ${one.sent} and both got the same card ${one.given}. Within ten seconds a renewal is repeated (grace): nobody is thrown out.`
    : `One tab got card ${one.given}, the other card ${other.given}: the second left after the first was answered.`;
}

const secondTabMeans = (told) =>
  told.status === 200 ? `The other tab showed card ${told.sent} as well, and got card ${told.given}: the same.` : words(told);

async function loseAnswer(say) {
  const before = visitor.generation();
  const line = new AbortController();
  const lost = tell({ method: "POST", path: "/refresh", answer: "lost", hangUp: line.signal }, CARD,
    () => "The service renewed, and its answer never came: the connection broke.");
  for (let tries = 0; visitor.generation() === before && tries < 50; tries += 1) {
    await pause(100);
    await visitor.look();
  }
  line.abort();
  await lost;
  say(`The service is at generation ${visitor.generation()}, the browser still has card ${before}. Strict servers throw you out now. The page asks again …`);
  await pause(2 * BEAT_MS);
  const told = await renew({ meaning: (told) => told.status === 200
    ? `Asked again with card ${told.sent}: the very card ${told.given} that was lost (grace).` : words(told) });
  return told.status === 200 ? `Card ${told.given} after all, the same that was lost. A lost answer costs nothing.` : words(told);
}

async function stealCard(say) {
  const copied = await exchange({ method: "POST", path: "/park/copy" });
  show({ who: "the thief", ...copied }, "this demonstration's own way",
    `Copied card ${visitor.generation()}, as malware on your machine could, and a web page could not.`);
  const { refreshToken } = copied.body;
  say(`A thief has copied card ${visitor.generation()}, without a trace. You go on …`);
  for (const _ of ["once", "twice"]) {
    await pause(BEAT_MS);
    const told = await renew();
    if (told.status !== 200) return words(told);
  }
  say("Now the thief shows the old copy …");
  await pause(2 * BEAT_MS);
  const told = await thiefs(refreshToken);
  const isCaught = told.body?.reason === "reuse";
  show({ who: "the thief", ...told }, "with the copy", isCaught
    ? `Card ${told.sent} is an old copy: reuse detection ends the session, for whoever holds it.` : `The service says ${told.status}.`);
  await visitor.look();
  await pause(BEAT_MS);
  await ride();
  return isCaught
    ? "The thief got nothing, and your wristband is void, too, with its time unused: nobody can tell thief and owner apart, so both are out. You sign in again, the thief cannot."
    : "The thief was served: the copy was not old enough.";
}

async function signOut() {
  if (visitor.secondsLeft() < AT_LEAST_LEFT_S) await renew();
  const left = Math.floor(visitor.secondsLeft());
  await tell({ method: "POST", path: "/logout" }, CARD, () => "The session has ended on the service's record; the cookie is deleted.");
  await visitor.look();
  await pause(BEAT_MS);
  const { status } = await ride();
  return status === 401
    ? `Signed out is signed out: the old wristband had ${left} seconds left and a good signature, and is refused at once.`
    : `The service says ${status}.`;
}

/** The buttons in the order of the story. Those that are `alive` need a visit that is; the others a wristband, if a void one. */
export const STEPS = [
  { name: "Enter a ride", what: "Show the wristband: GET\u00a0/profile with the access token.", run: enterRide },
  { name: "Wait until it runs out", what: "Let its 30 seconds pass, then try the same ride.", run: waitUntilOut, alive: true, stop: "Stop waiting" },
  { name: "Renew", what: "Show the card: POST\u00a0/refresh punches the next hole (rotation) and gives a wristband.", run: renewOnce },
  { name: "Renew in two tabs at once", what: "Two requests with the same cookie at the same moment, as two tabs would send them.", run: renewTwice, alive: true },
  { name: "Lose an answer", what: "The service renews, the line breaks before you hear of it, and the page asks again.", run: loseAnswer, alive: true },
  { name: "Let somebody steal the card", what: "A thief copies it, you renew twice, then the thief uses the old copy.", run: stealCard, alive: true },
  { name: "Sign out, then try the old wristband", what: "POST\u00a0/logout, and at once a ride with a wristband that has time left.", run: signOut, alive: true },
];

/** The page was loaded while a visit is on: its memory is empty, so it renews. */
export async function comeBack() {
  await visitor.look();
  if (!visitor.isIn()) return "";
  await renew({ meaning: (told) => (told.status === 200 ? "The page was loaded again and its memory is empty; the card brought a wristband." : words(told)) });
  return "Welcome back. The page's memory was empty, and the card got you a wristband without a password.";
}

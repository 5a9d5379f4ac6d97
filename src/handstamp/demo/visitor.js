// What the visitor holds. The wristband is in this module's memory and nowhere else; the card is a cookie that script cannot see,
// so what is shown of it comes from the demonstration, which sees both the cookie and the service's store.

import { el } from "./conversation.js";
import { askPark } from "./wire.js";

const SHORT_S = 10;
const HOLES_A_ROW = 12;
const MEANINGS = {
  iss: "who issued it", aud: "whom it is for", sub: "who you are", client_id: "who signed you in", iat: "issued at", exp: "holds until",
  jti: "its own name", sid: "the session", auth_time: "when you signed in", scope: "what for", roles: "your roles",
};
const $ = (id) => document.getElementById(id);

const NOBODY = { session: null, card: null, generation: null, over: null, words: "", email: "" };
let wristband = null; // { token, expiresIn, gotAt }
let visit = NOBODY;

export const token = () => wristband?.token;
export const generation = () => visit.generation;
export const isIn = () => visit.session !== null && visit.over === null;
export const secondsLeft = () => (wristband ? Math.max(0, wristband.expiresIn - (performance.now() - wristband.gotAt) / 1000) : 0);

/** Put on the wristband of a token answer. */
export function take({ accessToken, expiresIn, sessionId }) {
  wristband = { token: accessToken, expiresIn, gotAt: performance.now() };
  if (visit.session !== sessionId) visit = { ...visit, session: sessionId, over: null };
  showClaims();
}

/** Look at the cookie and into the store, as only this demonstration can. Throws `Away`. */
export async function look() {
  const known = await askPark("GET", `/park/visit${visit.session ? `?session=${visit.session}` : ""}`);
  visit = known;
  if (visit.session === null) wristband = null; // another demonstration's
  render();
}

/** Forget everything of a visit that is over, before the next one. */
export function forget() {
  wristband = null;
  visit = NOBODY;
  $("attempts").replaceChildren();
}

const holes = (count) => (count === 1 ? "1 hole" : `${count} holes`);

export function render() {
  const isOver = visit.over !== null;
  $("belongings").hidden = visit.session === null;
  $("nobody").hidden = visit.session !== null;
  $("fields").hidden = isOver && !$("sign-in-error").textContent;
  $("enter").textContent = isOver ? "Sign in again, for a new visit" : "Get a wristband and a membership card (sign in)";
  document.body.classList.toggle("over", isOver);
  renderCard();
  $("session").textContent = visit.session ? `${visit.session.slice(0, 6)}…` : "";
  $("visit").textContent = isOver ? visit.words : `Alive, for ${visit.email}; generation ${visit.generation} on the service's record.`;
  renderBand();
}

function renderCard() {
  const punched = visit.card ?? 0;
  const known = Math.max(punched, visit.generation ?? 0);
  const slots = Math.min(60, Math.max(HOLES_A_ROW, Math.ceil((known + 1) / HOLES_A_ROW) * HOLES_A_ROW));
  const kind = (number) => (number < punched ? "punched" : number < known ? "missed" : "");
  $("holes").replaceChildren(...Array.from({ length: slots }, (_, number) => el("i", { className: kind(number) })));
  $("generation").textContent = visit.card === null ? "taken away" : `generation ${visit.card}`;
  const label = visit.card === null ? "The browser has no card any more." : `The card is generation ${visit.card}: it has ${holes(visit.card)}.`;
  $("card").setAttribute("aria-label", visit.over ? `${label} It is void.` : label);
}

/** Show how long the wristband holds. Called often, so that it runs down smoothly; what is read aloud changes seldom. */
export function renderBand() {
  const left = secondsLeft();
  const isVoid = visit.over !== null;
  const state = !wristband ? "none" : isVoid ? "void" : left === 0 ? "out" : left < SHORT_S ? "short" : "good";
  const words = {
    none: "none in memory", void: `void, ${Math.ceil(left)} s unused`, out: "run out", short: `${Math.ceil(left)} s left`, good: `${Math.ceil(left)} s left`,
  };
  const aloud = {
    none: "There is no wristband.", void: "The wristband is void.", out: "The wristband has run out.",
    short: "The wristband runs out in less than 10 seconds.", good: "The wristband holds.",
  };
  if (left === 0) words.void = "void";
  $("band").dataset.state = state;
  $("left").textContent = words[state];
  if ($("strap").getAttribute("aria-label") !== aloud[state]) $("strap").setAttribute("aria-label", aloud[state]);
  $("fill").style.setProperty("--left", wristband ? (left / wristband.expiresIn).toFixed(4) : "0");
}

function showClaims() {
  const payload = wristband.token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const claims = Object.entries(JSON.parse(atob(payload)));
  const time = (value) => `${new Date(value * 1000).toLocaleTimeString([], { hour12: false })} (${value})`;
  const isTime = (name) => ["iat", "exp", "auth_time"].includes(name);
  $("claims").replaceChildren(el("dl", {}, ...claims.map(([name, value]) => el("div", {},
    el("dt", {}, el("code", { textContent: name }), ` ${MEANINGS[name] ?? ""}`),
    el("dd", { textContent: isTime(name) ? time(value) : String(value) })))));
}

/** Let script try to get at the card, in front of the visitor. */
export async function tryToRead() {
  const isCard = (name) => /handstamp-refresh/.test(name);
  const tried = (what, names) => {
    const found = names.some(isCard) ? "the card!" : names.length ? `${names.length} of other programs here, no card` : "nothing";
    return el("span", {}, el("code", { textContent: what }), ` → ${found}`);
  };
  const cookies = document.cookie ? document.cookie.split("; ") : [];
  const results = [
    tried("document.cookie", cookies),
    tried("localStorage, sessionStorage", [...Object.keys(localStorage), ...Object.keys(sessionStorage)]),
  ];
  if (window.cookieStore) results.splice(1, 0, tried("cookieStore.getAll()", (await cookieStore.getAll()).map(({ name }) => name)));
  $("attempts").replaceChildren(...results);
}

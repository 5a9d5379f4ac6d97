// What the visitor holds. The wristband (access token) is kept in this module's memory only. The card (refresh token) is a cookie
// that script cannot see: the demonstration, which sees the cookie and the service's store, reports its state.

import { el } from "./conversation.js";
import { askPark, claimsOf, generationOf } from "./wire.js";

const SHORT_S = 10;
const HOLES_A_ROW = 12;
const MEANINGS = {
  iss: "issuer", aud: "who may accept it", sub: "account id", client_id: "client", iat: "issued at", exp: "valid until",
  jti: "token id", sid: "the session", auth_time: "when you signed in", acr: "how strongly", amr: "by what", scope: "permissions", roles: "your roles",
  cnf: "the key that it is bound to",
};
const $ = (id) => document.getElementById(id);

const SIGNED_OUT = { session: null, card: null, generation: null, over: null, words: "", email: "" };
let wristband = null; // { token, expiresIn, gotAt }
let card = null; // of a session that is bound to a key: it comes in the body, and is kept beside the wristband
let visit = SIGNED_OUT;

export const token = () => wristband?.token;
export const generation = () => visit.generation;
export const hasVisited = () => visit.session !== null;
export const isIn = () => visit.session !== null && visit.over === null;
export const secondsLeft = () => (wristband ? Math.max(0, wristband.expiresIn - (performance.now() - wristband.gotAt) / 1000) : 0);

/** Keep the access token of a token answer as the wristband, and the card if it came along. */
export function take({ accessToken, expiresIn, sessionId, refreshToken = null }) {
  wristband = { token: accessToken, expiresIn, gotAt: performance.now() };
  card = refreshToken;
  if (visit.session !== sessionId) visit = { ...visit, session: sessionId, over: null };
  showClaims();
}

/** Ask the demonstration for the state of the cookie and of the stored session, and show it. Throws `Away`. */
export async function look() {
  visit = await askPark("GET", `/park/visit${visit.session ? `?session=${visit.session}` : ""}`);
  if (visit.session === null) wristband = null; // it is of an earlier demonstration
  if (card && !visit.over) visit.card = generationOf(card);
  render();
}

/** Drop the state of an ended session, before the next sign-in. */
export function forget() {
  wristband = card = null;
  visit = SIGNED_OUT;
  $("attempts").replaceChildren();
}

const holes = (count) => (count === 1 ? "1 hole" : `${count} holes`);

/** Show the wristband, the card and the session as they are now. */
export function render() {
  const isOver = visit.over !== null;
  $("belongings").hidden = visit.session === null;
  $("signed-out").hidden = visit.session !== null;
  $("fields").hidden = isOver && !$("sign-in-error").textContent;
  $("enter").textContent = isOver ? "Sign in again, for a new visit" : "Get a wristband and a membership card (sign in)";
  document.body.classList.toggle("over", isOver);
  renderCard();
  $("session").textContent = visit.session ? `${visit.session.slice(0, 6)}…` : "";
  $("visit").textContent = isOver ? visit.words : `Active, for ${visit.email}; generation ${visit.generation} in the service's database.`;
  renderBand();
}

function renderCard() {
  const punched = visit.card ?? 0;
  const newest = Math.max(punched, visit.generation ?? 0);
  const slots = Math.min(60, Math.max(HOLES_A_ROW, Math.ceil((newest + 1) / HOLES_A_ROW) * HOLES_A_ROW));
  const kind = (number) => (number < punched ? "punched" : number < newest ? "missed" : "");
  $("holes").replaceChildren(...Array.from({ length: slots }, (_, number) => el("i", { className: kind(number) })));
  $("generation").textContent = visit.card === null ? "taken away" : `generation ${visit.card}`;
  const label = visit.card === null ? "The browser has no card any more." : `The card is generation ${visit.card}: it has ${holes(visit.card)}.`;
  $("card").setAttribute("aria-label", visit.over ? `${label} It is void.` : label);
}

/** Show how long the wristband is still valid. Called four times a second; the text for screen readers changes only with the state. */
export function renderBand() {
  const left = secondsLeft();
  const isVoid = visit.over !== null;
  const state = !wristband ? "none" : isVoid ? "void" : left === 0 ? "out" : left < SHORT_S ? "short" : "good";
  const words = {
    none: "none in memory", void: `void, ${Math.ceil(left)} s unused`, out: "expired", short: `${Math.ceil(left)} s left`, good: `${Math.ceil(left)} s left`,
  };
  const aloud = {
    none: "There is no wristband.", void: "The wristband is void.", out: "The wristband has expired.",
    short: "The wristband expires in less than 10 seconds.", good: "The wristband is valid.",
  };
  if (left === 0) words.void = "void";
  $("band").dataset.state = state;
  $("left").textContent = words[state];
  if ($("strap").getAttribute("aria-label") !== aloud[state]) $("strap").setAttribute("aria-label", aloud[state]);
  $("fill").style.setProperty("--left", wristband ? (left / wristband.expiresIn).toFixed(4) : "0");
}

function showClaims() {
  const claims = Object.entries(claimsOf(wristband.token));
  const time = (value) => `${new Date(value * 1000).toLocaleTimeString([], { hour12: false })} (${value})`;
  const isTime = (name) => ["iat", "exp", "auth_time"].includes(name);
  $("claims").replaceChildren(el("dl", {}, ...claims.map(([name, value]) => el("div", {},
    el("dt", {}, el("code", { textContent: name }), ` ${MEANINGS[name] ?? ""}`),
    el("dd", { textContent: isTime(name) ? time(value) : name === "cnf" ? value.jkt : String(value) })))));
}

/** Look for the card in every place that script can read, and show what was found. */
export async function tryToRead() {
  const isCard = (name) => /handstamp-refresh/.test(name);
  const describe = (what, names) => {
    const found = names.some(isCard) ? "the card!" : names.length ? `${names.length} entries of other programs, no card` : "nothing";
    return el("span", {}, el("code", { textContent: what }), ` → ${found}`);
  };
  const cookies = document.cookie ? document.cookie.split("; ") : [];
  const results = [
    describe("document.cookie", cookies),
    describe("localStorage, sessionStorage", [...Object.keys(localStorage), ...Object.keys(sessionStorage)]),
  ];
  if (window.cookieStore) results.splice(1, 0, describe("cookieStore.getAll()", (await cookieStore.getAll()).map(({ name }) => name)));
  $("attempts").replaceChildren(...results);
}

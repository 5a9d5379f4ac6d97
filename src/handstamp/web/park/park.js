// The park: what the visitor holds, the story's buttons, and the conversation. Nothing is played: each button makes the requests
// that it says, and the page shows what was answered.

const $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const person = { email: document.body.dataset.email, password: document.body.dataset.password };
const LOST_AFTER_MS = 800;
const SHORT_S = 10;
const LEEWAY_MS = 5000; // how far services let clocks differ

/** What the page knows. The wristband is in this variable and nowhere else; the card is a cookie that it cannot see. */
let wristband = null; // { token, gotAt, expiresIn }
let session = null;
let generation = null;
let over = null;

function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// --- the conversation

const shortened = (text) => text.replace(/eyJ[\w-]+\.[\w-]+\.([\w-]+)/g, (token) => `${token.slice(0, 6)}…${token.slice(-4)}`);
const inWords = (value) => (value === undefined ? "" : shortened(JSON.stringify(value, null, 2)));

/** Add one exchange, newest first. */
function say({ who = "The visitor", request, sent, status, body, meaning, isGood }) {
  const text = [`${who}: ${request}`, sent, "", `${status}`, inWords(body)].filter((line) => line !== undefined).join("\n").trim();
  const details = el("details", {},
    el("summary", {},
      el("code", { textContent: request }), " ",
      el("span", { className: `status ${isGood ? "good" : "bad"}`, textContent: status }),
      el("span", { className: "meaning", textContent: `${who === "The visitor" ? "" : `${who}. `}${meaning}` })),
    el("pre", { textContent: text }));
  $("conversation").prepend(el("li", {}, details));
  $("silence").hidden = true;
}

/** Make a request, show it and what was answered, and return the answer. `meanings` are by status, or by the problem's code. */
async function ask(method, path, { body, carries, meanings, signal, headers = {}, shownHeaders = [] }) {
  const sent = { ...headers, ...(body ? { "Content-Type": "application/json" } : {}) };
  const lines = [...shownHeaders, carries, body && shortened(JSON.stringify({ ...body, password: body.password && "…" }))].filter(Boolean).join("\n");
  let answer;
  try {
    answer = await fetch(path, { method, headers: sent, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    const isLost = signal?.aborted;
    say({ request: `${method} ${path}`, sent: lines, status: isLost ? "no answer" : "offline", isGood: false,
      meaning: isLost ? "The answer was lost on its way. The service has renewed; this page does not know it." : "The service cannot be reached. Nobody is signed out by that: try again." });
    if (!isLost) throw error;
    return { status: 0 };
  }
  const content = answer.status === 204 ? undefined : await answer.json();
  const meaning = meanings?.[content?.code] ?? meanings?.[answer.status] ?? content?.detail ?? "";
  say({ request: `${method} ${path}`, sent: lines, status: String(answer.status), body: content, meaning, isGood: answer.ok });
  if (content?.code === "session_ended") end(content.reason);
  return { status: answer.status, body: content };
}

// --- the requests

function take(answer) {
  if (answer.status !== 200) return;
  wristband = { token: answer.body.accessToken, gotAt: performance.now(), expiresIn: answer.body.expiresIn };
  session = answer.body.sessionId;
  over = null;
}

const buyTicket = async () => take(await ask("POST", "/login", { body: person, carries: "e-mail address and password in the body",
  meanings: { 200: "Signed in: a wristband in the body, and a membership card as a cookie that only the browser holds." } }));

const enterRide = (meanings = {}) => ask("GET", "/profile", {
  headers: { Authorization: `Bearer ${wristband.token}` }, shownHeaders: [`Authorization: Bearer ${shortened(wristband.token)}`],
  carries: "wristband in the Authorization header",
  meanings: { 200: "The wristband holds: welcome to the ride.", expired_token: "This wristband has run out. The card gets you a new one.", ...meanings } });

const renew = async (meaning = "A new wristband, and a new card in place of the old: rotation.", path = "/refresh") => {
  const answer = await ask("POST", path, { carries: "card as a cookie, sent by the browser", meanings: { 200: meaning } });
  take(answer);
  return answer;
};

async function renewTwice() {
  const late = "/refresh?answer=late"; // so that both have left before either is answered
  await Promise.all([renew("The one tab.", late), renew("The other tab: the same next card, so neither is thrown out.", late)]);
}

async function loseAnswer() {
  const hangUp = new AbortController();
  const lost = ask("POST", "/refresh?answer=lost", { carries: "card as a cookie, sent by the browser", signal: hangUp.signal });
  await wait(LOST_AFTER_MS);
  hangUp.abort();
  await lost;
  await show();
  await wait(LOST_AFTER_MS);
  await renew("Asked again with the old card, within its grace: the same next card as in the lost answer. Nothing was lost.");
}

async function stealCard() {
  await ask("POST", "/park/copy", { carries: "card as a cookie", meanings: { 200: "A thief has copied the card (only this demonstration can do that)." } });
  await renew("The visitor goes on…");
  await renew("…and on. The copy is two generations old now.");
  await show();
  await wait(LOST_AFTER_MS);
  const thief = await (await fetch("/park/thief", { method: "POST" })).json();
  say({ who: "The thief", request: "POST /refresh", sent: "the copied card as a cookie, from another client", status: String(thief.status), body: thief.body,
    isGood: thief.status === 200, meaning: thief.status === 200 ? "The copy was good." : "An old copy: reuse detection. The whole session ends, for the thief and for the visitor." });
  await wait(LOST_AFTER_MS);
  await enterRide({ session_ended: "The visitor's wristband is dead too, at once: nobody can tell the two apart. Signing in again is safe." });
}

async function signOut() {
  await ask("POST", "/logout", { carries: "card as a cookie, sent by the browser", meanings: { 204: "Signed out. The session is over on the service's disk." } });
  await wait(LOST_AFTER_MS);
  await enterRide({ session_ended: "The old wristband had time left, and is refused: signed out is signed out." });
}

async function waitUntilOver() {
  while (secondsLeft() > 0) await wait(200);
  await wait(LEEWAY_MS + 500);
  await enterRide();
}

// --- the visitor

const secondsLeft = () => (wristband ? Math.max(0, wristband.expiresIn - (performance.now() - wristband.gotAt) / 1000) : 0);

function end(reason) {
  over = reason;
}

const REASONS = {
  logout: "You signed out.",
  reuse: "The session has ended, because an old copy of the card was used.",
};

/** Look into the store, as only this demonstration can: the card's true generation. */
async function look() {
  if (session === null) return;
  try {
    const known = await (await fetch(`/park/visit?session=${session}`)).json();
    generation = known.generation;
    if (known.over !== null) over = known.over;
  } catch {
    // the conversation has said that the service is away
  }
}

async function show() {
  await look();
  const isIn = wristband !== null && over === null;
  $("visit").textContent = isIn ? `A visit is on: ${person.email} is signed in.` : over !== null ? (REASONS[over] ?? "The session has ended.") : "Nobody is signed in.";
  $("claims").textContent = wristband === null ? "no claims" : JSON.stringify(JSON.parse(atob(wristband.token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))), null, 2);
  $("holes").replaceChildren(...Array.from({ length: Math.min(generation ?? 0, 40) }, () => el("i")));
  $("card-text").textContent = session === null ? "none" : `Generation ${generation}: ${generation === 1 ? "one hole" : `${generation} holes`}, one for each renewal.${over === null ? "" : " It opens nothing any more."}`;
  $("card").classList.toggle("over", over !== null);
  $("attempt").textContent = `document.cookie → ${JSON.stringify(document.cookie)}, localStorage → ${localStorage.length} entries`;
  for (const { button, needs } of steps) button.disabled = needs && !isIn;
  showBand();
}

function showBand() {
  const left = secondsLeft();
  const isOver = wristband !== null && (over !== null || left === 0);
  $("fill").style.setProperty("--left", `${over === null && wristband ? (100 * left) / wristband.expiresIn : 0}%`);
  $("band").classList.toggle("short", !isOver && wristband !== null && left < SHORT_S);
  $("band").classList.toggle("over", isOver);
  $("band-text").textContent = wristband === null ? "none" : over !== null ? "refused: its session has ended" : isOver ? "run out" : `${Math.ceil(left)} seconds left`;
}

// --- the story

const steps = [
  { name: "Buy a ticket", run: buyTicket, needs: false, what: `Sign in as ${person.email}: you get a wristband and a membership card.` },
  { name: "Enter a ride", run: () => enterRide(), needs: true, what: "Show the wristband: GET /profile. The service looks at its signature and at whether the session lives." },
  { name: "Wait until it runs out", run: waitUntilOver, needs: true, what: "Its 30 seconds, and five that services allow for clocks that differ. Then the same ride refuses it: expired_token." },
  { name: "Renew", run: () => renew(), needs: true, what: "Show the card: POST /refresh. It gets one more hole (the next generation), and you get a new wristband." },
  { name: "Renew in two tabs at once", run: renewTwice, needs: true, what: "Two requests leave with the same card before either is answered, as two tabs' do. Elsewhere one of them is thrown out." },
  { name: "Lose an answer", run: loseAnswer, needs: true, what: "The service renews, and the answer is lost on its way, as in a tunnel. Then the page asks again." },
  { name: "Let somebody steal the card", run: stealCard, needs: true, what: "A thief copies the card, you go on, and the thief uses the old copy from another machine." },
  { name: "Sign out, then try the old wristband", run: signOut, needs: true, what: "A signature alone would still hold for seconds or minutes. Here it is over at once." },
];

for (const step of steps) {
  step.button = el("button", { textContent: step.name, className: step.needs ? "" : "primary" });
  $("steps").append(el("li", {}, step.button, el("p", { className: "help", textContent: step.what })));
  step.button.addEventListener("click", async () => {
    for (const { button } of steps) button.disabled = true;
    step.button.classList.add("working");
    try {
      await step.run();
    } catch {
      // the conversation has said why
    }
    step.button.classList.remove("working");
    await show();
    if (!step.button.disabled) step.button.focus({ preventScroll: true });
  });
}

setInterval(showBand, 250);
await show();

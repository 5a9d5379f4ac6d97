// The park's page: the form, the buttons, and what happens when one is pressed.

import { el } from "./conversation.js";
import { STEPS, comeBack, signIn } from "./story.js";
import * as visitor from "./visitor.js";
import { Away } from "./wire.js";

const $ = (id) => document.getElementById(id);
let working = null; // the button whose work is in progress
let running = null; // the step in progress, if it can be stopped

const say = (sentence) => {
  $("outcome").textContent = sentence;
};

/** Run `work` for a button, unless other work is in progress. Shows a notice if the service does not answer. */
async function runFor(button, work) {
  if (working) return;
  working = button;
  button.classList.add("working");
  refresh();
  try {
    await work();
    $("away").hidden = true;
  } catch (problem) {
    if (!(problem instanceof Away)) throw problem;
    $("away").hidden = false;
    say("The service does not answer.");
  } finally {
    working = null;
    button.classList.remove("working");
    refresh();
  }
}

/**
 * Show which buttons can be used now. Unusable buttons keep their focus and are `aria-disabled`; the next step is the primary button.
 * The form appears once it is known that the visitor is signed out and no work is in progress, so no press on it is ignored.
 */
function refresh() {
  visitor.render();
  $("sign-in").hidden = visitor.isIn() || (working !== null && working !== $("enter"));
  $("looking").hidden = working !== $("again");
  const next = STEPS.find((step) => !step.isDone);
  for (const step of STEPS) {
    const isPossible = visitor.hasVisited() && (step.always || (step.alive ? visitor.isIn() : Boolean(visitor.token())));
    const isRunning = step === running;
    step.button.textContent = isRunning ? step.stop : step.name;
    step.button.setAttribute("aria-disabled", String(!isRunning && (working !== null || !isPossible)));
    step.button.classList.toggle("primary", step === next && visitor.isIn());
    step.item.classList.toggle("done", Boolean(step.isDone));
  }
}

/** Run a step of the story, or stop it if it is running. */
async function press(step) {
  if (step === running) return step.stopping.abort();
  await runFor(step.button, async () => {
    step.stopping = new AbortController();
    running = step.stop ? step : null;
    refresh();
    try {
      say(await step.run(say, step.stopping.signal));
      step.isDone = !step.stopping.signal.aborted;
    } finally {
      running = null;
    }
  });
}

STEPS.forEach((step) => {
  step.button = el("button", { type: "button", textContent: step.name });
  step.item = el("li", {}, step.button, el("p", { className: "help", textContent: step.what }));
  step.button.addEventListener("click", () => step.button.getAttribute("aria-disabled") === "false" && press(step));
  $("steps").append(step.item);
});

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  runFor($("enter"), async () => {
    const problem = await signIn($("email").value, $("password").value);
    $("sign-in-error").textContent = problem;
    $("password").setAttribute("aria-invalid", String(Boolean(problem)));
    if (problem) $("password").focus();
    else say("You have a wristband for 30 seconds, and a card that renews it. Enter a ride.");
  }).then(() => visitor.isIn() && document.querySelector("#steps .primary, #steps button").focus({ preventScroll: true }));
});

$("show-password").addEventListener("click", () => {
  const [type, word] = $("password").type === "password" ? ["text", "Hide"] : ["password", "Show"];
  $("password").type = type;
  $("show-password").textContent = word;
  $("show-password").setAttribute("aria-label", `${word} password`);
});

$("try").addEventListener("click", visitor.tryToRead);

// Escape closes the claims that hovering or focus opened (WCAG 1.4.13).
$("band").addEventListener("keydown", ({ key }) => $("band").classList.toggle("closed", key === "Escape"));
for (const event of ["blur", "mouseleave"]) {
  $("band").addEventListener(event, () => document.activeElement === $("band") || $("band").classList.remove("closed"));
}

const arrive = () => runFor($("again"), async () => say((await comeBack()) || $("outcome").textContent));
$("again").addEventListener("click", async () => {
  await arrive();
  if ($("away").hidden && !visitor.isIn()) location.reload(); // a new demonstration has another password
});
setInterval(visitor.renderBand, 250);
arrive();

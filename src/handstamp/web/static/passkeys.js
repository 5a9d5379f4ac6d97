// Passkeys on our pages. The service writes its options into a form; the answer of the browser goes back in a field of that form.
// A browser that cannot do this leaves the forms hidden, and every page offers another way.

const can = Boolean(globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON && PublicKeyCredential.prototype.toJSON);
let ongoing = new AbortController();
const PATIENCE_MS = 1000;

// A browser runs one ceremony at a time: the one before must be aborted first.
function nextSignal() {
  ongoing.abort();
  ongoing = new AbortController();
  return ongoing.signal;
}

function ask(form, mediation) {
  const options = JSON.parse(form.dataset.options);
  const signal = nextSignal();
  return form.dataset.passkey === "create"
    ? navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options), mediation, signal })
    : navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options), mediation, signal });
}

function send(form, credential, conditional = "") {
  form.elements.passkey.value = JSON.stringify(credential);
  if (form.elements.conditional) form.elements.conditional.value = conditional;
  form.requestSubmit();
}

function showFailure(form, error) {
  const texts = [...form.querySelectorAll("[data-failed]")];
  const shown = texts.find(({ dataset }) => dataset.failed === error.name) ?? texts.find(({ dataset }) => !dataset.failed);
  for (const text of texts) text.hidden = text !== shown;
}

function offer(form) {
  form.hidden = false;
  for (const text of document.querySelectorAll("[data-without-passkeys]")) text.hidden = true;
  form.addEventListener(
    "submit",
    async (event) => {
      if (form.elements.passkey.value) return;
      event.preventDefault();
      event.stopImmediatePropagation(); // its buttons stay enabled
      try {
        send(form, await ask(form));
      } catch (error) {
        if (error.name !== "AbortError") showFailure(form, error);
      }
    },
    { capture: true },
  );
}

// Offer passkeys in the list of names that the browser shows for the e-mail field.
async function offerInField(form) {
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  refreshWhenExpired(form);
  send(form, await ask(form, "conditional"));
}

// The options expire. A page on which nothing was typed is loaded again when somebody looks at it after that.
function refreshWhenExpired(form) {
  const expiry = Date.now() + JSON.parse(form.dataset.options).timeout;
  const refresh = () => {
    const isUntouched = [...document.querySelectorAll("input")].every(({ type, value, defaultValue }) => type === "hidden" || value === defaultValue);
    if (Date.now() >= expiry && isUntouched && document.visibilityState === "visible") location.reload();
  };
  setTimeout(refresh, expiry - Date.now());
  document.addEventListener("visibilitychange", refresh);
}

// After a sign-in with a saved password, some browsers create a passkey without a question.
async function createQuietly(form) {
  const { conditionalCreate } = (await PublicKeyCredential.getClientCapabilities?.()) ?? {};
  if (conditionalCreate) send(form, await ask(form, "conditional"), "on");
}

// Tell the browser which passkeys the service accepts, so that it offers no others.
async function signal() {
  for (const { method, options } of JSON.parse(document.querySelector("[data-signals]")?.dataset.signals ?? "[]")) {
    await PublicKeyCredential[method]?.(options);
  }
}

async function start() {
  const forms = document.querySelectorAll("form[data-passkey]");
  forms.forEach(offer);
  // First, or a passkey that was just refused could be offered once more. But a browser that does not answer is not waited for.
  await Promise.race([signal().catch(() => {}), new Promise((go) => setTimeout(go, PATIENCE_MS))]);
  for (const form of forms) {
    if (form.dataset.conditional === "get") offerInField(form).catch(() => {});
    if (form.dataset.conditional === "create") createQuietly(form).catch(() => {});
  }
  const field = document.querySelector("input[name=passkeys]");
  if (field && (await PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable())) field.value = "on";
}

if (can) start();

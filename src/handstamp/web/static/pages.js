// What makes the pages nicer; each of them works without.

for (const button of document.querySelectorAll("[data-shows]")) {
  const field = document.getElementById(button.dataset.shows);
  button.hidden = false;
  button.addEventListener("click", () => {
    const [type, word] = field.type === "password" ? ["text", "Hide"] : ["password", "Show"];
    field.type = type;
    button.setAttribute("aria-label", button.getAttribute("aria-label").replace(button.textContent, word));
    button.textContent = word;
    field.focus();
  });
}

// One press is enough. The page of the back button must not be left with a button that cannot be pressed.
for (const form of document.forms) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button")) button.disabled = true;
  });
}

// A page out of the back button's cache may show somebody who is signed out by now: ask the service.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// Signed out in one tab is signed out in all: the others ask the service, which sends them to the sign-in page.
const tabs = new BroadcastChannel("handstamp-pages");
if ("signedOut" in document.body.dataset) tabs.postMessage("signed-out");
if ("signedIn" in document.body.dataset) tabs.onmessage = () => location.reload();

// Optional improvements: every page also works without script.

// Show or hide a password.
for (const button of document.querySelectorAll("[data-shows]")) {
  const field = document.getElementById(button.dataset.shows);
  button.hidden = false;
  button.addEventListener("click", () => {
    field.type = field.type === "password" ? "text" : "password";
    [button.textContent, button.dataset.hide] = [button.dataset.hide, button.textContent];
    field.focus();
  });
}

// Disable buttons after submit, so that a form is sent once. Before, the value of the pressed button would be left out.
for (const form of document.forms) {
  form.addEventListener("submit", () => {
    setTimeout(() => {
      for (const button of form.querySelectorAll("button")) button.disabled = true;
    });
  });
}

// A page restored from the back-forward cache may show a person who has signed out, and disabled buttons: reload it.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// A sign-out in one tab reaches all tabs: the others reload, and the service redirects them to the sign-in page.
const tabs = new BroadcastChannel("handstamp-pages");
if ("signedOut" in document.body.dataset) tabs.postMessage("signed-out");
if ("signedIn" in document.body.dataset) tabs.onmessage = () => location.reload();

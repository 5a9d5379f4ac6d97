"use strict";

// Shows openapi.json with Swagger UI. The page is at <mount>/docs; everything is requested relative to <mount>/.

const base = new URL(".", document.baseURI);

/** Return the OpenAPI document as this page can use it. */
function adapt(api) {
  // Requests go to where the page comes from: its policy allows nothing else, and the issuer may have another address.
  api.servers = [{ url: base.href.replace(/\/$/, "") }];
  // Script cannot set the HttpOnly cookies, and the browser adds them by itself: they are nothing to fill in.
  const schemes = api.components.securitySchemes;
  const isCookie = (name) => schemes[name]?.in === "cookie";
  for (const operation of Object.values(api.paths).flatMap(Object.values)) {
    operation.security = operation.security?.filter((way) => Object.keys(way).length && !Object.keys(way).some(isCookie));
  }
  for (const name of Object.keys(schemes).filter(isCookie)) delete schemes[name];
  schemes.accessToken.description = "Filled in by every answer that brings one, and forgotten when you leave the page.";
  api.externalDocs = { url: new URL("openapi.json", base).href, description: "openapi.json" };
  return api;
}

/** Use the access token of an answer from now on. If it travels as a cookie, an older one must not be sent beside it. */
function adoptToken(response) {
  if (response.ok && response.body?.tokenType) {
    const { accessToken } = response.body;
    if (accessToken) window.ui.preauthorizeApiKey("accessToken", accessToken);
    else window.ui.authActions.logout(["accessToken"]);
  }
  return response;
}

/** Leave out a body without a field: where a body is optional, a cookie takes its place. */
function dropEmptyBody(request) {
  if (/^\{\s*\}$/.test(request.body)) delete request.body;
  return request;
}

/** What Swagger UI leaves out for people who use a screen reader, and a list of servers with one entry. */
const improvements = ({ React }) => ({
  wrapComponents: {
    ServersContainer: () => () => null,
    TextArea: (TextArea) => (props) => React.createElement(TextArea, { "aria-label": "Request body", ...props }),
    CloseIcon: (CloseIcon) => () => React.createElement("span", { role: "img", "aria-label": "Close" }, React.createElement(CloseIcon)),
    DeepLink: () => ({ text }) => React.createElement("span", {}, text), // a link inside a button works with neither
  },
});

function show(api) {
  window.ui = SwaggerUIBundle({
    spec: adapt(api),
    dom_id: "#api",
    plugins: [improvements],
    deepLinking: true,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // it would send this service's address to validator.swagger.io
    requestInterceptor: dropEmptyBody,
    responseInterceptor: adoptToken,
  });
}

async function load() {
  const state = document.getElementById("state");
  try {
    const response = await fetch(new URL("openapi.json", base), { cache: "no-cache" });
    if (!response.ok) throw new Error(`status ${response.status}`);
    show(await response.json());
    state.hidden = true;
  } catch (problem) {
    const button = document.createElement("button");
    button.textContent = "Try again";
    button.addEventListener("click", load);
    state.replaceChildren(`openapi.json could not be loaded (${problem.message}). Check that the service is running. `, button);
    state.hidden = false;
  }
}

const darkness = matchMedia("(prefers-color-scheme: dark)");
const followDarkness = () => document.documentElement.classList.toggle("dark-mode", darkness.matches);
darkness.addEventListener("change", followDarkness);
followDarkness();
load();

"use strict";

// Shows openapi.json with Swagger UI. The page is at <mount>/docs; all requests are relative to <mount>/.

const base = new URL(".", document.baseURI);

/** Return a new password: the service refuses those that its documents print. */
const newPassword = () => btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(18))));

/** Put passwords of this visit into the examples, so that an account that is created here can sign in here. */
function fillPasswords(operations) {
  const password = newPassword();
  for (const { example } of operations.flatMap((operation) => Object.values(operation.requestBody?.content ?? {}))) {
    if (example?.password) example.password = password;
    if (example?.currentPassword) Object.assign(example, { currentPassword: password, newPassword: newPassword() });
  }
}

/** Sessions that are bound to a key of this page (DPoP, RFC 9449): the key, the token of the latest, and what proofs are for. */
const bound = { keys: null, token: null, issuer: "" };

/** Let people choose that this page makes the proof of a request. */
function offerProofs(operations) {
  for (const parameter of operations.flatMap(({ parameters }) => parameters ?? []).filter(({ name }) => name === "DPoP")) {
    parameter.schema = { type: "string", enum: ["sign"] };
    parameter.description += ". Choose `sign` to use a key of this page, which then signs all requests of the session.";
  }
}

const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/[+]/g, "-").replace(/[/]/g, "_").replace(/=+$/, "");
const encode = (value) => new TextEncoder().encode(value);

/** Return a proof for a request to this service, and for the token that it carries (RFC 9449 §4.2). */
async function prove({ method, url }, token) {
  bound.keys ??= await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  const { crv, kty, x, y } = await crypto.subtle.exportKey("jwk", bound.keys.publicKey);
  const htu = `${bound.issuer}/${url.slice(base.href.length)}`.replace(/[?#].*/, "");
  const claims = { jti: crypto.randomUUID(), htm: method, htu, iat: Math.floor(Date.now() / 1000) };
  if (token) claims.ath = base64url(await crypto.subtle.digest("SHA-256", encode(token)));
  const head = { alg: "ES256", typ: "dpop+jwt", jwk: { kty, crv, x, y } };
  const text = [head, claims].map((part) => base64url(encode(JSON.stringify(part)))).join(".");
  const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, bound.keys.privateKey, encode(text));
  return `${text}.${base64url(signature)}`;
}

/** Add the proof of a bound token, and the one that was asked for. */
async function addProof(request) {
  const { headers } = request;
  const isBound = bound.token !== null && headers.Authorization === `Bearer ${bound.token}`;
  if (isBound) headers.Authorization = `DPoP ${bound.token}`;
  if (isBound || headers.DPoP) headers.DPoP = await prove(request, isBound ? bound.token : null);
  return request;
}

/** Adapt the OpenAPI document to this page and return it. */
function adapt(api) {
  bound.issuer = api.servers[0].url;
  // Send requests to the page's own origin: its Content-Security-Policy allows no other, and the issuer may have another address.
  api.servers = [{ url: base.href.replace(/\/$/, "") }];
  // Remove from the form what cannot be filled in: HttpOnly cookies, which the browser sends, and bound tokens, which need a proof.
  const schemes = api.components.securitySchemes;
  const isHidden = (name) => schemes[name]?.in === "cookie" || name === "boundAccessToken";
  const operations = Object.values(api.paths).flatMap(Object.values);
  fillPasswords(operations);
  offerProofs(operations);
  for (const operation of operations) {
    operation.security = operation.security?.filter((way) => Object.keys(way).length && !Object.keys(way).some(isHidden));
  }
  for (const name of Object.keys(schemes).filter(isHidden)) delete schemes[name];
  schemes.accessToken.description = "Filled in by every answer that brings one, and forgotten when you leave the page.";
  api.externalDocs = { url: new URL("openapi.json", base).href, description: "openapi.json" };
  return api;
}

/** Use the access token of a token answer from now on. If the answer has none, it is in a cookie: drop the old token. */
function adoptToken(response) {
  if (response.ok && response.body?.tokenType) {
    const { accessToken, tokenType } = response.body;
    bound.token = tokenType === "DPoP" ? accessToken : null;
    if (accessToken) window.ui.preauthorizeApiKey("accessToken", accessToken);
    else window.ui.authActions.logout(["accessToken"]);
  }
  return response;
}

/** Drop a body without fields. Endpoints with an optional body then read the cookie instead. */
function dropEmptyBody(request) {
  if (/^\{\s*\}$/.test(request.body)) delete request.body;
  return request;
}

/** Return a part of the OpenAPI document without references. All of them lead to `#/components`, and none to itself. */
function withoutReferences(part, api) {
  if (part === null || typeof part !== "object") return part;
  if (Array.isArray(part)) return part.map((each) => withoutReferences(each, api));
  const { $ref, ...rest } = part;
  if ($ref) return withoutReferences({ ...at(api, $ref.split("/").slice(1)), ...rest }, api);
  return Object.fromEntries(Object.entries(part).map(([name, each]) => [name, withoutReferences(each, api)]));
}

const at = (value, path) => path.reduce((each, name) => each?.[name], value);

/** A plugin that finds the parts of a document. Swagger UI's own way takes a third of a second for each operation that is opened. */
const resolver = { fn: { resolveSubtree: async (api, path) => ({ spec: withoutReferences(at(api, path), api), errors: [] }) } };

/** A plugin that adds labels for screen readers and removes the list of servers, which has one entry. */
const improvements = ({ React }) => ({
  wrapComponents: {
    ServersContainer: () => () => null,
    TextArea: (TextArea) => (props) => React.createElement(TextArea, { "aria-label": "Request body", ...props }),
    CloseIcon: (CloseIcon) => () => React.createElement("span", { role: "img", "aria-label": "Close" }, React.createElement(CloseIcon)),
    DeepLink: () => ({ text }) => React.createElement("span", {}, text), // Swagger UI nests a link in a button, which is invalid HTML
  },
});

/** Render the API. */
function show(api) {
  window.ui = SwaggerUIBundle({
    spec: adapt(api),
    dom_id: "#api",
    plugins: [improvements, () => resolver],
    deepLinking: true,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // the default sends this service's address to validator.swagger.io
    requestInterceptor: (request) => addProof(dropEmptyBody(request)),
    responseInterceptor: adoptToken,
  });
}

/** Load the OpenAPI document and show it, or a notice with a button to try again. */
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
const applyColorScheme = () => document.documentElement.classList.toggle("dark-mode", darkness.matches);
darkness.addEventListener("change", applyColorScheme);
applyColorScheme();
load();

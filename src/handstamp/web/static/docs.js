"use strict";

// The documentation page. It is made of openapi.json alone, so it cannot say anything else than the service does.
// The page is at <mount>/docs; everything is asked for relative to <mount>/.

const SHOWN_HEADERS = ["content-type", "www-authenticate", "retry-after", "allow"];
const AUTOCOMPLETE = { email: "username", newPassword: "new-password", "post-register-password": "new-password" };
const NO_ANSWER = "No answer came: the service cannot be reached. Check that it is running, then send again.";

const base = new URL(".", document.baseURI);
const byId = (id) => document.getElementById(id);
let api = {};
let accessToken = ""; // here and in its field, never in a storage that outlives the page

/** Make an element. Text goes in as text, so nothing that a service says can become markup. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

const sentence = (text) => (/[.`]$/.test(text) ? text : `${text}.`);

/** Return text with its `code` as code. */
const prose = (text) => text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));

// ---- Schemas in words ----

const resolved = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema) ?? {};

function typeOf(given) {
  const schema = resolved(given);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(", ").replace(/, (?=[^,]*$)/, " or ");
  if (schema.type === "array") return `array of ${typeOf(schema.items)}`;
  return `${schema.format ?? ""} ${schema.type ?? "anything"}`.trim();
}

function describe({ description, maxLength, examples }) {
  const parts = [description ?? (maxLength && `At most ${maxLength} characters`), examples && `Example: \`${examples[0]}\``];
  return parts.filter(Boolean).map(sentence).join(" ");
}

/** Return [name, type, description] of every field, those of objects inside as outer.inner and list[].inner. */
function fieldRows(given, prefix = "") {
  const { properties = {}, required = [] } = resolved(given);
  return Object.entries(properties).flatMap(([name, field]) => {
    const schema = resolved(field);
    const isList = schema.type === "array";
    const type = typeOf(field) + (required.includes(name) ? "" : " (optional)");
    return [
      [el("code", {}, prefix + name), type, prose(describe(schema))],
      ...fieldRows(isList ? schema.items : schema, `${prefix}${name}${isList ? "[]" : ""}.`),
    ];
  });
}

/** Make a table. Its roles are said because a phone lays rows out as blocks, after which browsers forget that it is a table. */
function table(heads, rows, className = "fields") {
  const line = (tag, role, cells) => el("tr", { role: "row" }, ...cells.map((cell) => el(tag, { role }, ...[cell].flat())));
  return el("table", { role: "table", class: className },
    el("thead", { role: "rowgroup" }, line("th", "columnheader", heads)),
    el("tbody", { role: "rowgroup" }, ...rows.map((row) => line("td", "cell", row))));
}

const folded = (title, isOpen, ...content) => el("details", { open: isOpen }, el("summary", {}, title), ...content);

/** Return what a schema says about itself, and its fields; the column of descriptions only where there are some. */
function fieldsOf(given) {
  const rows = fieldRows(given);
  const width = rows.some((row) => row[2].join("")) ? 3 : 2;
  const about = resolved(given).description;
  return [
    ...(about ? [el("p", { class: "muted" }, ...prose(about))] : []),
    table(["Name", "Type", "Description"].slice(0, width), rows.map((row) => row.slice(0, width))),
  ];
}

const schemaIn = (content = {}) => Object.values(content)[0]?.schema;

// ---- One endpoint ----

const nameOf = ({ method, path }) => el("code", {}, el("span", { class: "method" }, method), ` ${path}`);
const anchorOf = ({ method, path }) => `${method} ${path}`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/-$/, "");

function endpointSection(endpoint) {
  const { method, path, summary, description, security, responses, requestBody } = endpoint;
  const anchor = anchorOf(endpoint);
  const requestSchema = schemaIn(requestBody?.content);
  const answer = Object.entries(responses).find(([status]) => status < 400);
  const answerSchema = schemaIn(answer?.[1].content);
  return el("section", { class: "card", id: anchor, "aria-labelledby": `${anchor}-title` },
    el("h2", { id: `${anchor}-title` }, el("a", { href: `#${anchor}` }, nameOf(endpoint))),
    el("p", {}, el("strong", {}, sentence(summary))),
    ...(description && description !== sentence(summary) ? [el("p", {}, ...prose(description))] : []),
    ...(security ? [el("p", { class: "muted" }, ...prose(credentials(security, requestBody)))] : []),
    ...(requestSchema ? [folded("Fields of the request", true, ...fieldsOf(requestSchema))] : []),
    ...(answerSchema ? [folded(`Fields of the answer, ${answer[0]}`, true, ...fieldsOf(answerSchema))] : []),
    folded("Statuses and error codes", false, statusTable(responses)),
    tryIt(endpoint, requestSchema));
}

function credentials(security, requestBody) {
  const words = security.flatMap((way) => Object.keys(way)).map((name) => {
    const scheme = api.components.securitySchemes[name];
    return scheme.in === "cookie" ? `cookie \`${scheme.name}\`` : "`Authorization: Bearer`";
  });
  const isOptional = security.some((way) => Object.keys(way).length === 0);
  if (isOptional) words.push(requestBody ? "a token in the body" : "none");
  return `Credential: ${words.join(", or ")}.`;
}

const statusTable = (responses) => table(["Status", "What it says; for errors, the code"],
  Object.entries(responses).map(([status, { description }]) => [el("code", {}, status), prose(description)]), "statuses");

// ---- Try it ----

function tryIt(endpoint, requestSchema) {
  const { method, path, parameters = [], requestBody } = endpoint;
  const { properties = {}, required = [] } = resolved(requestSchema);
  const anchor = anchorOf(endpoint);
  const inPath = parameters.filter((parameter) => parameter.in === "path");
  const isRequired = (name) => Boolean(requestBody.required) && required.includes(name);
  const fields = [
    ...inPath.map(({ name, schema }) => field(anchor, "path", name, resolved(schema), true)),
    ...Object.entries(properties).map(([name, schema]) => field(anchor, "body", name, resolved(schema), isRequired(name))),
  ];
  const button = el("button", { class: "send primary" }, `Send ${method} ${path}`);
  const outcome = el("p", { class: "outcome", role: "status" });
  const exchange = el("div", { class: "exchange" });
  const form = el("form", { class: "try", novalidate: true, "aria-labelledby": `${anchor}-try` },
    el("h3", { id: `${anchor}-try` }, "Try it"), ...fields.flatMap(({ nodes }) => nodes), button, outcome, exchange);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    const hadFocus = document.activeElement === button;
    button.disabled = true;
    await send(endpoint, fields, outcome, exchange);
    button.disabled = false;
    if (hadFocus && document.activeElement === document.body) button.focus(); // a disabled button loses it
  });
  return form;
}

/** Return one field of a form: its nodes (label, input, help, error) and how it is read and marked. */
function field(anchor, where, name, schema, isRequired) {
  const id = `${anchor}-${name}`;
  const attributes = { id, name, "aria-describedby": `${id}-help ${id}-error`, "data-fills": name };
  let input;
  if (schema.enum) {
    const values = [...(isRequired ? [] : [""]), ...schema.enum];
    input = el("select", attributes, ...values.map((value) => el("option", { value }, value || "left out: the service decides")));
  } else {
    const isPassword = /password/i.test(name);
    const autocomplete = AUTOCOMPLETE[id] ?? AUTOCOMPLETE[name] ?? (isPassword ? "current-password" : "off");
    const type = isPassword ? "password" : "text";
    input = el("input", { ...attributes, type, autocomplete, autocapitalize: "off", spellcheck: "false" });
    input.value = schema.examples?.[0] ?? "";
  }
  const help = el("p", { class: "help", id: `${id}-help` }, ...prose(schema.description ? sentence(schema.description) : ""));
  const error = el("p", { class: "error", id: `${id}-error` });
  const label = el("label", { for: id }, name, el("span", { class: "muted" }, isRequired ? "" : " optional"));
  return {
    name, where, schema, input,
    nodes: [label, input.type === "password" ? withShowButton(input, name) : input, error, ...(schema.description ? [help] : [])],
    mark(problem) {
      error.textContent = problem;
      input.setAttribute("aria-invalid", String(Boolean(problem)));
    },
  };
}

function withShowButton(input, name) {
  const button = el("button", { type: "button", "aria-label": `Show ${name}`, "aria-pressed": "false" }, "Show");
  button.addEventListener("click", () => {
    const isShown = input.type === "password";
    input.type = isShown ? "text" : "password";
    button.setAttribute("aria-pressed", String(isShown));
  });
  return el("div", { class: "secret" }, input, button);
}

/** Put problems beside their fields and go to the first one. */
function markProblems(fields, problems) {
  const wrong = fields.filter((each) => {
    const problem = problems.find(({ name }) => name === each.name)?.problem ?? "";
    each.mark(problem && `${each.name}: ${problem}`);
    return problem;
  });
  wrong[0]?.input.focus();
}

function requestFrom({ method, path, security = [], requestBody }, fields) {
  const headers = {};
  if (accessToken && security.some((way) => "accessToken" in way)) headers.authorization = `Bearer ${accessToken}`;
  const filled = fields.filter(({ input }) => input.value !== "");
  const inBody = filled.filter(({ where }) => where === "body");
  // An optional body whose fields are all empty is not sent at all: then the cookie speaks.
  const body = requestBody && (requestBody.required || inBody.length)
    ? Object.fromEntries(inBody.map(({ name, schema, input }) => [name, valueOf(schema, input.value)]))
    : undefined;
  if (body) headers["content-type"] = "application/json";
  const values = Object.fromEntries(filled.map(({ name, input }) => [`{${name}}`, encodeURIComponent(input.value)]));
  const address = path.slice(1).replace(/{\w+}/g, (slot) => values[slot]);
  return { method, url: new URL(address, base), headers, body };
}

async function send(endpoint, fields, outcome, exchange) {
  const missing = fields.filter(({ where, input }) => where === "path" && !input.value);
  markProblems(fields, missing.map(({ name }) => ({ name, problem: "is part of the address: fill it in" })));
  if (missing.length) return;
  const request = requestFrom(endpoint, fields);
  const { method, url, headers, body } = request;
  const say = (kind, text) => {
    outcome.className = `outcome ${kind}`;
    outcome.textContent = text;
  };
  say("muted", "Waiting for the answer …");
  let response, text;
  try {
    response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    text = await response.text();
  } catch {
    exchange.replaceChildren();
    return say("bad", NO_ANSWER);
  }
  const answer = parsed(text);
  say(response.ok ? "good" : "bad", statusLine(response));
  exchange.replaceChildren(...exchangeNodes(request, response, answer ?? text));
  if (response.ok) remember(answer);
  markProblems(fields, answer?.fields ?? []);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Return what a field holds as JSON. What is not of its type goes as text: the service says what is wrong with it. */
const valueOf = (schema, text) => (schema.enum || schema.type === "string" ? text : parsed(text) ?? text);

const statusLine = ({ status, statusText }) => `${status} ${statusText}`.trim(); // HTTP/2 has numbers only

function exchangeNodes({ method, url, headers, body }, response, answer) {
  const masked = (name, value) => (/password/i.test(name) ? "••••••••" : value); // others may look at this screen
  const sent = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const received = SHOWN_HEADERS.flatMap((name) => (response.headers.has(name) ? `${name}: ${response.headers.get(name)}` : []));
  const content = typeof answer === "string" ? answer : JSON.stringify(answer, null, 2);
  const whole = (head, rest) => el("pre", {}, [head.join("\n"), ...(rest ? [rest] : [])].join("\n\n"));
  return [
    el("p", {}, "Request"),
    whole([`${method} ${url.pathname}`, ...sent], body && JSON.stringify(body, masked, 2)),
    el("p", {}, "Answer"),
    whole([statusLine(response), ...received], content || "(no body)"),
  ];
}

/** Take over the tokens of an answer. Those that it does not show travel as cookies, so older ones must not be sent beside. */
function remember(answer) {
  if (!answer?.tokenType) return;
  accessToken = answer.accessToken ?? "";
  byId("access-token").value = accessToken;
  const values = { refreshToken: answer.refreshToken ?? "", id: answer.sessionId ?? "" };
  for (const [name, value] of Object.entries(values)) {
    for (const input of document.querySelectorAll(`[data-fills="${name}"]`)) input.value = value;
  }
}

// ---- The page ----

const contentsEntry = (href, name, summary) =>
  el("li", {}, el("a", { href }, el("span", {}, name), el("span", { class: "summary" }, summary)));

function build() {
  const endpoints = Object.entries(api.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ ...operation, path, method: method.toUpperCase() })));
  byId("about").textContent = `${api.info.summary}.`;
  byId("version").textContent = `version ${api.info.version}`;
  const entries = endpoints.map((endpoint) => contentsEntry(`#${anchorOf(endpoint)}`, nameOf(endpoint), endpoint.summary));
  byId("contents").replaceChildren(...entries);
  byId("endpoints").replaceChildren(...endpoints.map(endpointSection));
  if (api.components.schemas.Problem) {
    byId("contents").append(contentsEntry("#errors", "Errors", "What every error answer looks like"));
    byId("endpoints").append(el("section", { class: "card", id: "errors", "aria-labelledby": "errors-title" },
      el("h2", { id: "errors-title" }, "Errors"), ...fieldsOf(api.components.schemas.Problem)));
  }
}

async function load() {
  const state = byId("state");
  state.hidden = false;
  state.textContent = "Reading openapi.json …";
  try {
    const response = await fetch(new URL("openapi.json", base));
    if (!response.ok) throw new Error(`status ${response.status}`);
    api = await response.json();
    build();
  } catch (problem) {
    const again = el("button", { type: "button" }, "Read openapi.json again");
    again.addEventListener("click", load);
    state.replaceChildren(`openapi.json could not be read (${problem.message}). Check that the service is running.`, again);
    return;
  }
  state.hidden = true;
  byId("reference").hidden = false;
  byId(location.hash.slice(1))?.scrollIntoView(); // its section was not there yet when the browser looked
}

byId("access-token").addEventListener("input", (event) => {
  accessToken = event.target.value.replace(/[^\x21-\x7e]/g, ""); // no header takes more than these, and no token has more
});
load();

// The conversation: shows each exchange as two lines, newest first. A click opens the whole text.

const list = document.getElementById("conversation");
const silence = document.getElementById("silence");

/** Create an element. Text is inserted as text, so an answer of the service cannot become markup. */
export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const kindOf = (status) => (status === 0 ? "lost" : status < 400 ? "good" : "bad");

/** Add one exchange to the list: who sent it, where the token was, and what the answer means. */
export function show({ who = "", method, path, status, request, answer }, travelled, meaning) {
  const summary = el("summary", {},
    el("span", { className: "line" },
      el("code", { textContent: `${method} ${path}` }), " ",
      el("span", { className: "muted", textContent: [who, travelled].filter(Boolean).join(", ") }), " ",
      el("span", { className: `status ${kindOf(status)}`, textContent: status || "lost" })),
    el("span", { className: "meaning", textContent: meaning }));
  const whole = el("pre", {}, el("b", { textContent: "Request" }), `\n${request}\n\n`, el("b", { textContent: "Answer" }), `\n${answer}`);
  list.prepend(el("li", { className: who ? "thief" : "" }, el("details", {}, summary, whole)));
  silence.hidden = true;
}

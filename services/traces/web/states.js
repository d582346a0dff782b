// What there is to say where there is nothing to show, and what to do about it.

import { token } from "./api.js";
import { h } from "./dom.js";
import { length } from "./format.js";
import { address, here } from "./router.js";

const WINDOWS = [60, 300, 900, 3600, 21_600, 86_400];
const TRACE_ID = /^[0-9a-f]{32}$/i;

function state(title, ...content) {
  return h("section", { class: "state" }, h("h1", null, title), content);
}

export function command(text) {
  return h("pre", { class: "command" }, h("code", null, text));
}

export function loading() {
  return h("section", { class: "state dim" }, h("p", null, "Asking the traces service …"));
}

/** No request came in the window. */
export function quiet(name) {
  const { window, end } = here();
  const when = end ? "in this stretch of time" : `in the last ${length(window)}`;
  const wider = WINDOWS.find((one) => one > window);
  return state(
    name ? "No such request" : "No requests yet",
    h("p", null, name ? `No request of ${name} ended ${when}.` : `No request ended ${when}. This makes some:`),
    !name && command("make bench"),
    h("p", null, end && h("a", { href: address({ end: null, window: here().from ?? 300 }) }, "Back to now"),
      !end && wider && h("a", { href: address({ window: wider }) }, `Look back ${length(wider)}`)),
  );
}

/** Why what was asked for is not shown. */
export function failed(failure, retry) {
  if (failure.status === 401 || failure.status === 403) return entry(failure, retry);
  if (failure.reason === "OPERATION_NOT_FOUND") return quiet(here().name);
  if (failure.status === 0 || failure.status >= 500) return silent(failure, retry);
  if (here().page === "trace" && !TRACE_ID.test(here().id)) return unreadable(here().id);
  if (failure.reason === "TRACE_NOT_FOUND") return unkept();
  return state("This cannot be asked", h("p", null, failure.message), h("a", { href: "#/" }, "All operations"));
}

function silent(failure, retry) {
  const said = failure.status ? `It answers: ${failure.message || failure.status}.` : "Nobody listens at this address.";
  return state(
    "The traces service does not answer",
    h("p", null, said, " This page asks again by itself. On your own machine, see what runs, and start it:"),
    command("neurectomy status\nneurectomy up"),
    h("button", { type: "button", onclick: retry }, "Ask again now"),
  );
}

function unreadable(id) {
  const said = `A trace id has 32 hexadecimal digits. The address has ${id ? `"${id}"` : "none"}.`;
  return state("This is no trace id", h("p", null, said), home());
}

function unkept() {
  return state(
    "This trace was not kept",
    h("p", null, "Every request counts in the figures, but only some traces are kept whole: those that were slow for their ",
      "operation, those that failed, a sample, and those that were asked for. The newest win when room runs out."),
    h("p", null, "One that has only just ended may be a second away. To have a request kept for certain, send it with a ",
      "sampled ", h("code", null, "traceparent"), ":"),
    command(`curl -H 'traceparent: 00-${here().id.toLowerCase()}-00f067aa0ba902b7-01' ...`),
    home(),
  );
}

function home() {
  return h("a", { href: address({ page: "overview", id: "", span: "", name: "" }) }, "All operations");
}

function entry(failure, retry) {
  const field = h("input", { id: "token", type: "password", autocomplete: "off", required: true, "data-key": "token" });
  const keep = (event) => {
    event.preventDefault();
    token.set(field.value.trim());
    retry();
  };
  const why = { TOKEN_MISSING: "Only operators may read traces.", PERMISSION_MISSING: "That token does not let you read traces." };
  return state(
    "A token is needed",
    h("p", null, why[failure.reason] ?? `That token was refused: ${failure.message}.`, " On the machine of the stack, this prints one:"),
    command("neurectomy token"),
    h("form", { class: "entry", onsubmit: keep }, h("label", { for: "token" }, "Token"), field, h("button", null, "Use it")),
    h("p", { class: "dim" }, "It is kept in this tab alone, until it is closed."),
  );
}

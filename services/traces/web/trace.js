// One trace: its shares, its waterfall, its log lines.

import * as api from "./api.js";
import { bar, tag } from "./bar.js";
import { h } from "./dom.js";
import { count, day, duration, named, percent, plural, seconds } from "./format.js";
import { note } from "./router.js";
import { details, logLines } from "./span.js";
import { waterfall } from "./waterfall.js";

const COPIED_SECONDS = 2;
let close = null;

/** Close the open span's details; false where none are open. */
export function closeDetails() {
  return close ? (close(), true) : false;
}

export async function trace(at) {
  const [answer, settings] = await Promise.all([api.trace(at.id), api.settings()]);
  const room = h("div", { class: "room" });
  const fall = waterfall(answer, (id) => choose(id));
  const choose = (id, focus) => {
    const span = answer.spans.find((one) => one.span_id === id);
    const shut = () => choose("", true);
    close = span ? shut : null;
    note({ span: span ? id : "" });
    room.classList.toggle("open", Boolean(span));
    room.replaceChildren(...(span ? [details(span, answer, shut)] : []));
    fall.choose(span ? id : "", focus);
  };
  choose(at.span);
  if (!at.name) note({ name: answer.summary.operation }); // so that the way back leads to its operation
  const owed = answer.shares.toSorted((one, other) => other.duration_ns - one.duration_ns);
  return [
    head(answer, settings),
    h("section", null, h("h2", null, "Owed to"), bar(owed, "This trace"), owers(owed, answer.summary.duration_ns)),
    h("section", { class: "fall" }, h("h2", null, "Waterfall ",
      h("span", { class: "dim small" }, "full colour and line: the critical path")), h("div", { class: "beside" }, fall.tree, room)),
    h("section", null,
      h("h2", null, `Log lines${answer.logs.length ? ` (${count(answer.logs.length)})` : ""}`), logLines(answer, (id) => choose(id, true))),
  ];
}

function head({ summary, incomplete }, settings) {
  const { kind, name, hash } = named(summary.operation);
  return [
    h("div", { class: "title" },
      h("h1", null, name, " ", h("span", { class: "dim small" }, [kind, hash].filter(Boolean).join(" "))),
      summary.failed && h("span", { class: "badge failed" }, "✗ failed"),
      incomplete && h("span", { class: "badge warn", title: "A parent is missing, so that a span hangs under the root" }, "incomplete")),
    h("dl", { class: "figures" },
      figure("Took", duration(summary.duration_ns)),
      figure("Began", day(seconds(summary.start_time))),
      figure("Spans", count(summary.span_count), plural(summary.services.length, "service")),
      h("div", { class: "identity" }, h("dt", null, "Trace"), h("dd", { class: "code" }, summary.trace_id,
        h("small", null, copier(summary.trace_id), " ", elsewhere(settings.trace_link, summary.trace_id))))),
  ];
}

function figure(name, value, more) {
  return h("div", null, h("dt", null, name), h("dd", null, value, more && h("small", null, more)));
}

function copier(text) {
  const button = h("button", { type: "button", class: "link", onclick: copy }, "Copy");
  async function copy() {
    const done = await navigator.clipboard.writeText(text).then(() => "Copied", () => "Not allowed here");
    button.textContent = done;
    setTimeout(() => (button.textContent = "Copy"), COPIED_SECONDS * 1000);
  }
  return button;
}

function elsewhere(link, id) {
  if (!link) return null;
  const url = new URL(link.replaceAll("{trace_id}", encodeURIComponent(id)));
  return h("a", { href: url, rel: "noreferrer", target: "_blank" }, `Open in ${url.host} ↗`);
}

function owers(owed, whole) {
  const figure = (share) => h("span", { class: "figure" }, `${duration(share)} · ${percent(share / whole)}`);
  const one = ({ label, duration_ns }) => h("li", null, tag(label), figure(duration_ns));
  return h("ul", { class: "owers" }, owed.map(one));
}

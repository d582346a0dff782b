// One span's details, and the log lines of a trace.

import { swatch, tag } from "./bar.js";
import { h } from "./dom.js";
import { duration, percent, seconds } from "./format.js";

/** `close` is called by the button; `logs` are those of the whole trace. */
export function details(span, trace, close) {
  const whole = Math.max(1, Number(trace.summary.duration_ns));
  const lines = trace.logs.filter((line) => line.span_id === span.span_id);
  return h("aside", { class: "details", "aria-label": "Span details", tabindex: -1 },
    h("button", { type: "button", class: "close", onclick: close, title: "Close (Esc)" }, "✕", h("span", { class: "unseen" }, "Close")),
    h("h2", null, span.name),
    h("p", { class: "tags" }, h("span", { class: "tag" }, swatch(span.service), span.service), h("span", { class: "dim" }, span.kind)),
    span.failed && h("p", { class: "failed" }, "✗ Failed", span.status_message && `: ${span.status_message}`),
    h("dl", null,
      item("Took", duration(span.end_ns - span.start_ns)),
      item("From", `${duration(span.start_ns)} to ${duration(span.end_ns)}`),
      item("At work on the path", `${duration(span.critical_ns)}, ${percent(span.critical_ns / whole)} of the trace`),
      span.label && item("Its own time is owed by", tag(span.label)),
      item("Span id", h("code", null, span.span_id))),
    pairs("Attributes", span.attributes),
    lines.length > 0 && [h("h3", null, "Log lines"), h("ul", { class: "said" }, lines.map(said))]);
}

function said(line) {
  return h("li", null, h("b", null, `${line.severity} `), line.text);
}

function item(name, value) {
  return [h("dt", null, name), h("dd", null, value)];
}

function pairs(title, attributes) {
  const entries = Object.entries(attributes).sort(([one], [other]) => (one < other ? -1 : 1));
  if (!entries.length) return h("p", { class: "dim" }, "No attributes.");
  return [h("h3", null, title), h("dl", { class: "pairs" }, entries.map(([name, value]) => item(name, value)))];
}

/** All log lines of a trace, by the time after its begin; `choose` looks at the span that wrote one. */
export function logLines(trace, choose) {
  if (!trace.logs.length)
    return h("p", { class: "dim" }, "No log line came with this trace's id.");
  const origin = seconds(trace.summary.start_time);
  const known = new Map(trace.spans.map((span) => [span.span_id, span]));
  return h("ol", { class: "logs" }, trace.logs.map((line, at) => logLine(line, at, origin, known, choose)));
}

function logLine(line, at, origin, known, choose) {
  const more = Object.entries(line.attributes).map(([name, value]) => `${name}=${value}`).join("  ");
  const source = known.has(line.span_id)
    ? h("button", { type: "button", class: "link", "data-key": `log ${at}`, onclick: () => choose(line.span_id) }, line.service)
    : line.service;
  return h("li", { class: ["ERROR", "FATAL"].includes(line.severity) ? "failed" : line.severity === "WARN" ? "warned" : "" },
    h("span", { class: "figure dim" }, duration((seconds(line.time) - origin) * 1e9)),
    h("span", { class: "severity" }, line.severity || "–"),
    h("span", { class: "tag" }, swatch(line.service), source),
    h("span", { class: "text" }, line.text, more && h("small", null, more)));
}

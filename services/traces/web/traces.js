// Kept traces in a table.

import { swatch } from "./bar.js";
import { h, roving } from "./dom.js";
import { clock, duration, seconds } from "./format.js";
import { address } from "./router.js";

const open = (id, text, key) => h("a", { href: address({ page: "trace", id }), "data-key": `${key} ${id}` }, text);

/** The slowest, and before them those that the blame points at. */
export function traceTable(traces, { typical_trace_id: typical, slowest_trace_id: slowest }) {
  return [
    h("p", { class: "dim" },
      typical && [open(typical, "A trace about as slow as the percentile", "typical"), slowest && " · "],
      slowest && open(slowest, "the slowest", "slowest")),
    traces.length ? table(traces) : h("p", { class: "dim" }, "No trace of this stretch of time is kept. Kept are slow and failed ",
      "ones, a sample, and what was asked for by a sampled traceparent."),
  ];
}

function table(traces) {
  const heads = ["Took", "Began", "Spans", "Services", "Trace"];
  const body = roving(h("tbody", null, traces.map(row)), "a", ["ArrowUp", "ArrowDown"]);
  return h("table", { class: "traces" }, h("thead", null, h("tr", null, heads.map((head) => h("th", { scope: "col" }, head)))), body);
}

function row(trace) {
  const services = trace.services.map((service) => h("span", { class: "tag" }, swatch(service), service));
  return h("tr", null,
    h("th", { scope: "row", class: "figure" },
      open(trace.trace_id, duration(trace.duration_ns), "trace"), trace.failed && h("span", { class: "failed" }, " ✗ failed")),
    h("td", { class: "figure", "data-head": "began" }, clock(seconds(trace.start_time))),
    h("td", { class: "figure", "data-head": "spans" }, trace.span_count),
    h("td", { class: "tags" }, services),
    h("td", { class: "code dim" }, trace.trace_id.slice(0, 8)));
}

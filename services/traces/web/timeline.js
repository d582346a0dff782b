// Percentiles over time, and under them what they are owed to: two panels with one axis of time.

import { paint } from "./colours.js";
import { ranked, whole } from "./bar.js";
import { h, roving, svg } from "./dom.js";
import { ceiling, clock, count, duration, percent, plural, seconds } from "./format.js";
import { go, here } from "./router.js";

const LINES = ["p50", "p95", "p99"];
const TALL = 100;
const APART = 15;
const TICKS = 4;
const LARGEST = 3;

/** `median` chooses whose shares are drawn, `name` is what a step leads to. */
export function timeline(steps, { median, name }) {
  const drawn = steps.map((step) => read(step, median));
  const lines = h("div", { class: "panel lines" }, axis(top(drawn.map((step) => step.p99))), curves(drawn), ends(drawn));
  const bars = h("div", { class: "panel bars" }, axis(top(drawn.map((step) => step.sum))), stacks(drawn));
  const told = h("p", { class: "readout", "aria-hidden": "true" }, readout(busiest(drawn)));
  return h(
    "div", { class: "timeline" },
    h("div", { class: "plot" }, lines, bars, columns(drawn, name, told), times(drawn)),
    told,
  );
}

function read(step, median) {
  const shares = median ? step.median_shares : step.shares;
  const [p50, p95, p99] = LINES.map((line) => Number(step[`${line}_ns`]));
  const start = seconds(step.start_time);
  const span = parseFloat(step.duration);
  return { start, span, end: start + span, requests: Number(step.request_count), p50, p95, p99, shares, sum: whole(shares) };
}

function busiest(drawn) {
  return drawn.reduce((most, step) => (step.sum > most.sum ? step : most), drawn[0] ?? null);
}

function top(values) {
  return ceiling(Math.max(0, ...values));
}

function axis(most) {
  return [1, 0.5].map((part) =>
    h("span", { class: "rule", vars: { "--up": part }, "aria-hidden": "true" }, h("span", null, duration(most * part))));
}

/** Lines in steps, as each figure is that of a stretch and not of a moment; a stretch without requests has none. */
function curves(drawn) {
  const most = top(drawn.map((step) => step.p99));
  const path = (line) => drawn.map((step, at) => stair(drawn, at, line, most)).join("");
  return svg("svg", { viewBox: `0 0 ${Math.max(1, drawn.length)} ${TALL}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    LINES.map((line) => svg("path", { class: line, d: path(line) })));
}

function stair(drawn, at, line, most) {
  if (!drawn[at].requests) return "";
  const y = (TALL * (1 - drawn[at][line] / most)).toFixed(2);
  return `${drawn[at - 1]?.requests ? "L" : "M"}${at} ${y}H${at + 1}`;
}

/** The lines' names at their ends, kept apart. */
function ends(drawn) {
  const last = drawn.findLast((step) => step.requests);
  if (!last) return [];
  const most = top(drawn.map((step) => step.p99));
  let free = -Infinity;
  return LINES.map((line) => {
    const up = Math.max(last[line] / most * 120, free);
    free = up + APART;
    return h("span", { class: `end ${line}`, vars: { "--up": up }, "aria-hidden": "true" }, line.toUpperCase());
  });
}

/** The same order in every step, so that a label can be followed. */
function stacks(drawn) {
  const most = top(drawn.map((step) => step.sum));
  const order = new Map(ranked(drawn.map((step) => step.shares)).map((label, at) => [label, at]));
  const sorted = (shares) => shares.toSorted((one, other) => order.get(one.label) - order.get(other.label));
  const part = ({ label, duration_ns }) => {
    const { class: pattern, ...rest } = paint(label);
    return h("span", { class: `part ${pattern}`, ...rest, vars: { "--part": Number(duration_ns) / most } });
  };
  const stack = (step) => h("span", { class: "stack" }, sorted(step.shares).map(part));
  return h("div", { class: "stacks", "aria-hidden": "true" }, drawn.map(stack));
}

function columns(drawn, name, told) {
  const narrow = (step) => () => go({ page: "operation", name, window: step.span, end: step.end, from: here().from ?? here().window });
  const button = (step) => h("button", {
    type: "button",
    "data-key": `step ${step.start}`,
    "aria-label": spoken(step),
    onclick: narrow(step),
    onfocus: () => told.replaceChildren(...readout(step)),
    onmouseenter: () => told.replaceChildren(...readout(step)),
  });
  const group = h("div", { class: "columns", role: "group", "aria-label": "Steps; Enter narrows to one" }, drawn.map(button));
  return roving(group, "button", ["ArrowLeft", "ArrowRight"]);
}

function spoken(step) {
  if (!step.requests) return `${clock(step.start)}: no requests`;
  return `${clock(step.start)}: ${plural(step.requests, "request")}, P99 ${duration(step.p99)}, ${largest(step).join(", ")}`;
}

function largest({ shares, sum }) {
  return shares.slice(0, LARGEST).map(({ label, duration_ns }) => `${label} ${percent(duration_ns / sum)}`);
}

function readout(step) {
  if (!step) return [];
  const when = h("b", null, `${clock(step.start)} – ${clock(step.end)}`);
  if (!step.requests) return [when, " no requests"];
  const figures = LINES.map((line) => ` · ${line.toUpperCase()} ${duration(step[line])}`);
  const owed = largest(step).map((part) => ` · ${part}`);
  return [when, ` ${count(step.requests)} req`, ...figures, h("span", { class: "dim" }, ...owed)];
}

function times(drawn) {
  if (!drawn.length) return null;
  const each = Math.ceil(drawn.length / TICKS);
  const fine = drawn[0].span * each < 120;
  const shown = drawn.filter((_, at) => at % each === 0);
  const along = (step) => (step.start - drawn[0].start) / (drawn.length * step.span);
  const tick = (step) => h("span", { vars: { "--along": along(step) } }, clock(step.start, fine));
  return h("div", { class: "times", "aria-hidden": "true" }, shown.map(tick));
}

// Who owes a percentile: parts that add up to it, each with what chance may have done to it.

import { swatch } from "./bar.js";
import { h } from "./dom.js";
import { ceiling, count, duration, percent, plural, range, signed } from "./format.js";

const SMALL = 0.01;
const COVERED = "How much of the percentile's time someone recorded spans for; the rest is remote or untraced.";
let unfolded = false;

export function blameTable(answer, percentile) {
  if (!answer.parts.length) return [h("p", { class: "dim" }, "Nobody is named."), flags(answer)];
  const heads = ["Owed to", `Part of P${percentile}`, "", "Over P50, with its 95 % interval", "", "Beyond", "Calls × each"];
  const least = Math.min(0, ...answer.parts.map((part) => Number(part.excess_low_ns)));
  const most = Math.max(0, ...answer.parts.map((part) => Number(part.excess_high_ns)));
  const scale = { least, wide: ceiling(Math.max(most - least, 1)) };
  const matters = (part) => Math.max(part.duration_ns, Math.abs(part.excess_ns), part.tail_ns) >= answer.latency_ns * SMALL;
  const [large, small] = [answer.parts.filter(matters), answer.parts.filter((part) => !matters(part))];
  const rest = h("tbody", { hidden: !unfolded }, small.map((part) => row(part, answer, scale)));
  return [
    h("table", { class: "blame" },
      h("thead", null, h("tr", null, heads.map((head) => h(head ? "th" : "td", head ? { scope: "col" } : null, head)))),
      h("tbody", null, large.map((part) => row(part, answer, scale))),
      rest,
      h("tfoot", null, sum(answer))),
    small.length > 0 && unfold(rest, small),
    flags(answer),
  ];
}

/** The button that shows what is too small to matter, and hides it again. */
function unfold(rest, small) {
  const turn = ({ currentTarget }) => {
    unfolded = rest.hidden;
    rest.hidden = !unfolded;
    currentTarget.setAttribute("aria-expanded", String(unfolded));
  };
  return h("button", { type: "button", class: "small", "data-key": "unfold", "aria-expanded": String(unfolded), onclick: turn },
    `${plural(small.length, "part")} below 1 %`);
}

function row(part, answer, scale) {
  const cell = (head, value, more) => h("td", { class: "figure", "data-head": head }, value, more && h("small", null, more));
  return h("tr", null,
    h("th", { scope: "row" }, swatch(part.label), part.label),
    cell("part", duration(part.duration_ns), range(part.low_ns, part.high_ns)),
    h("td", { class: "figure dim share" }, percent(part.duration_ns / answer.latency_ns)),
    h("td", { class: "wide" }, whisker(part, scale)),
    cell("over P50", signed(part.excess_ns), range(part.excess_low_ns, part.excess_high_ns)),
    cell("beyond", duration(part.tail_ns)),
    h("td", { class: "figure", "data-head": "calls" }, calls(part)));
}

function calls({ calls, per_call_ns }) {
  return Number(per_call_ns) ? `${count(calls, 1)} × ${duration(per_call_ns)}` : "–";
}

/** A bar from zero to the excess, and the interval drawn over it. */
function whisker(part, { least, wide }) {
  const at = (value) => (Number(value) - least) / wide;
  const [zero, end, low, high] = [0, part.excess_ns, part.excess_low_ns, part.excess_high_ns].map(at);
  const vars = { "--from": Math.min(zero, end), "--to": Math.max(zero, end), "--zero": zero, "--low": low, "--high": high };
  const shown = h("span", { class: "excess", ...paintOf(part.label) });
  return h("div", { class: "whisker", "aria-hidden": "true", vars }, shown, h("span", { class: "interval" }), h("span", { class: "zero" }));
}

function paintOf(label) {
  return { "data-colour": swatch(label).dataset.colour };
}

function sum({ latency_ns, median_ns, tail_ns }) {
  const figure = (head, value) => h("td", { class: "figure", "data-head": head }, value);
  return h("tr", null,
    h("th", { scope: "row" }, "Sum"), figure("part", duration(latency_ns)),
    h("td", { class: "figure dim share" }, "100 %"), h("td", { class: "wide" }),
    figure("over P50", signed(latency_ns - median_ns)), figure("beyond", duration(tail_ns)), h("td"));
}

/** What to know before believing it. */
function flags(answer) {
  const counted = [
    [answer.incomplete_count, "incomplete trace", "A parent was missing, so that a span hangs under the root."],
    [answer.dropped_count, "dropped span", "They did not fit into what rides home with an answer; the longest are kept."],
    [answer.ambiguous_count, "ambiguous order", "Two spans ended at the same instant, and the earlier start was chosen."],
  ].filter(([number]) => Number(number) > 0);
  const item = (text, why, kind) => h("li", { class: kind, title: why }, text);
  return h("ul", { class: "flags", "aria-label": "How far to trust this" },
    answer.parts.length > 0 && item(`${count(answer.coverage_percent, 1)} % covered`, COVERED, answer.coverage_percent < 90 ? "warn" : ""),
    item(`percentiles ± ${count(answer.error_percent, 1)} %`, "They come from buckets that are this wide.", ""),
    counted.map(([number, what, why]) => item(plural(number, what), why, "warn")));
}

// A whole, cut into the labels that owe it.

import { paint } from "./colours.js";
import { h } from "./dom.js";
import { duration, percent } from "./format.js";

const NAMED = 0.17;
const SPOKEN = 4;

export function swatch(label) {
  const { class: pattern, ...rest } = paint(label);
  return h("span", { class: `swatch ${pattern}`, ...rest, "aria-hidden": "true" });
}

/** A label with its colour before it. */
export function tag(label) {
  return h("span", { class: "tag" }, swatch(label), label);
}

export function whole(shares) {
  return shares.reduce((sum, share) => sum + Number(share.duration_ns), 0);
}

/** Shares from the left to the right, in the order given. */
export function bar(shares, what) {
  const sum = whole(shares) || 1;
  const parts = shares.map((share) => ({ ...share, part: Number(share.duration_ns) / sum }));
  const spoken = parts.slice(0, SPOKEN).map(({ label, part }) => `${label} ${percent(part)}`).join(", ");
  return h("div", { class: "bar", role: "img", "aria-label": `${what}: ${spoken || "nothing"}` }, parts.map(drawn));
}

function drawn({ label, duration_ns, part }) {
  const { class: pattern, ...rest } = paint(label);
  const title = `${label}: ${duration(duration_ns)}, ${percent(part)}`;
  const text = part >= NAMED ? h("span", { class: "on" }, label) : null;
  return h("span", { class: `part ${pattern}`, ...rest, title, vars: { "--part": part } }, text);
}

/** The labels of some lists of shares, by what they sum to, the largest first. */
export function ranked(lists) {
  const totals = new Map();
  for (const list of lists)
    for (const { label, duration_ns } of list) totals.set(label, (totals.get(label) ?? 0) + Number(duration_ns));
  return [...totals.keys()].sort((one, other) => totals.get(other) - totals.get(one));
}

/** What the colours and patterns of some shares mean. */
export function legend(lists, most = 10) {
  const labels = ranked(lists);
  const rest = labels.length - most;
  const items = labels.slice(0, most).map((label) => h("li", null, tag(label)));
  return h("ul", { class: "legend", "aria-label": "Colours" }, items, rest > 0 && h("li", { class: "dim" }, `and ${rest} more`));
}

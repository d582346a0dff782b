// A trace over time: each span pale, full where it is at work on the critical path, and the path as one line.

import { paint } from "./colours.js";
import { byKey, h, svg, swap } from "./dom.js";
import { duration } from "./format.js";
import { closedAtFirst, planted, seen } from "./tree.js";

const ROW = 26;
const LINE = 21;
const DEEPEST = 12;
const MOST = 500;

/** `chosen` is told the span that is looked at; `choose` of what comes back looks at one. */
export function waterfall(trace, chosen) {
  const nodes = planted(trace.spans);
  const whole = Math.max(1, Number(trace.summary.duration_ns));
  const state = { nodes, closed: closedAtFirst(nodes), current: nodes[0].id, selected: "", most: MOST, whole };
  const tree = h("div", { class: "tree", role: "tree", "aria-label": "Spans" });
  const draw = () => swap(tree, drawn(trace, state, more));
  const more = () => { state.most += MOST; draw(); };
  const choose = (id, focus) => {
    const isHidden = id && !byKey(tree, `span ${id}`);
    if (isHidden) reveal(state, id);
    select(tree, state, id);
    if (isHidden) draw();
    if (focus) byKey(tree, `span ${state.current}`)?.focus();
  };
  tree.addEventListener("click", ({ target }) => clicked(target, state, draw, chosen));
  tree.addEventListener("focusin", ({ target }) => idOf(target) && settle(tree, state, idOf(target)));
  tree.addEventListener("keydown", (event) => pressed(event, tree, state, draw, chosen));
  draw();
  return { tree, choose };
}

/** Open what is above a span, and show rows up to it. */
function reveal(state, id) {
  const parents = new Map(state.nodes.map((node) => [node.id, node.parent]));
  for (let at = parents.get(id); at; at = parents.get(at)) state.closed.delete(at);
  state.most = Math.max(state.most, seen(state.nodes, state.closed).shown.findIndex((node) => node.id === id) + 1);
}

function select(tree, state, id) {
  byKey(tree, `span ${state.selected}`)?.setAttribute("aria-selected", "false");
  byKey(tree, `span ${id}`)?.setAttribute("aria-selected", "true");
  state.selected = id;
  if (id) settle(tree, state, id);
}

function idOf(element) {
  return element.closest("[role=treeitem]")?.dataset.key.slice("span ".length) ?? "";
}

function clicked(target, state, draw, chosen) {
  const id = idOf(target);
  if (!id) return;
  if (!target.classList.contains("twist")) return chosen(id);
  turn(state, id);
  draw();
}

function turn(state, id) {
  if (!state.closed.delete(id)) state.closed.add(id);
}

/** The row that the tab key comes to. */
function settle(tree, state, id) {
  byKey(tree, `span ${state.current}`)?.setAttribute("tabindex", "-1");
  byKey(tree, `span ${id}`)?.setAttribute("tabindex", "0");
  state.current = id;
}

function pressed(event, tree, state, draw, chosen) {
  const rows = [...tree.querySelectorAll("[role=treeitem]")];
  const at = rows.findIndex((row) => row === event.target);
  const node = state.nodes.find((one) => one.id === idOf(event.target));
  if (at < 0 || !node || event.ctrlKey || event.metaKey || event.altKey) return;
  const isOpen = node.children > 0 && !state.closed.has(node.id);
  const keys = {
    ArrowUp: () => rows[Math.max(0, at - 1)].focus(),
    ArrowDown: () => rows[Math.min(rows.length - 1, at + 1)].focus(),
    Home: () => rows[0].focus(),
    End: () => rows.at(-1).focus(),
    ArrowRight: () => (isOpen ? rows[at + 1]?.focus() : node.children && (turn(state, node.id), draw())),
    ArrowLeft: () => (isOpen ? (turn(state, node.id), draw()) : node.parent && byKey(tree, `span ${node.parent}`)?.focus()),
    Enter: () => chosen(node.id),
    " ": () => chosen(node.id),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
}

function drawn(trace, state, more) {
  const { shown, standing } = seen(state.nodes, state.closed);
  const cut = shown.slice(0, state.most);
  const mine = new Map();
  for (const section of trace.sections) {
    const id = standing.get(section.span_id);
    mine.has(id) ? mine.get(id).push(section) : mine.set(id, [section]);
  }
  const rest = shown.length - cut.length;
  return [
    ruler(state.whole),
    cut.map((node) => row(node, mine.get(node.id) ?? [], state)),
    path(trace.sections, new Map(cut.map((node, at) => [node.id, at])), standing, state.whole, cut.length),
    rest > 0 && h("button", { type: "button", class: "more", onclick: more }, `${rest} more spans`),
  ];
}

function ruler(whole) {
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => h("span", { vars: { "--along": part } }, duration(whole * part)));
  return h("div", { class: "ruler", "aria-hidden": "true" },
    h("span", null, "Span"), h("span", { class: "marks" }, marks), h("span", { class: "took" }, "took"));
}

export function short(name) {
  return /^[\w.]+\/\w+$/.test(name) ? name.slice(name.lastIndexOf("/") + 1) : name;
}

function row({ span, id, depth, children }, sections, state) {
  const isOpen = !state.closed.has(id);
  const took = span.end_ns - span.start_ns;
  const critical = Number(span.critical_ns);
  const onPath = critical ? `${duration(critical)} on the critical path` : "not on the critical path";
  const said = `${short(span.name)}, ${span.service}, ${duration(took)}, ${onPath}${span.failed ? ", failed" : ""}`;
  return h(
    "div", {
      role: "treeitem", class: "row", tabindex: state.current === id ? 0 : -1, "data-key": `span ${id}`, "aria-label": said,
      "aria-level": depth + 1, "aria-expanded": children ? String(isOpen) : undefined, "aria-selected": String(state.selected === id),
    },
    h("span", { class: "name", title: `${span.name} · ${span.service}`, vars: { "--depth": Math.min(depth, DEEPEST) } },
      h("span", { class: "twist", "aria-hidden": "true" }, children ? (isOpen ? "▾" : "▸") : ""),
      span.failed && h("span", { class: "failed", "aria-hidden": "true" }, "✗ "),
      short(span.name), h("span", { class: "dim" }, ` ${span.service}`)),
    track(span, sections, state.whole),
    h("span", { class: critical ? "took" : "took dim", "aria-hidden": "true" }, duration(took)));
}

function track(span, sections, whole) {
  const place = (one) => ({ "--from": one.start_ns / whole, "--to": one.end_ns / whole });
  const piece = (one, more, label) => {
    const { class: pattern, ...rest } = paint(label);
    return h("span", { class: `${more} ${pattern}`, ...rest, vars: place(one) });
  };
  return h("span", { class: "track", "aria-hidden": "true" },
    piece(span, "extent", span.label || span.service), sections.map((one) => piece(one, "work", one.label)));
}

/** From the trace's begin to its end, along whoever was at work. */
function path(sections, rows, standing, whole, height) {
  const steps = sections.map((one) => [rows.get(standing.get(one.span_id)), one.start_ns / whole, one.end_ns / whole]);
  const line = steps.filter(([at]) => at !== undefined).map(([at, from, to], index) => {
    const y = at * ROW + LINE;
    return `${index ? "L" : "M"}${from.toFixed(6)} ${y}H${to.toFixed(6)}`;
  });
  return h("div", { class: "path", "aria-hidden": "true", vars: { "--rows": height } },
    svg("svg", { viewBox: `0 0 1 ${Math.max(1, height * ROW)}`, preserveAspectRatio: "none" }, svg("path", { d: line.join("") })));
}

// All operations: how often, how slow, and owed to whom.

import * as api from "./api.js";
import { bar, legend } from "./bar.js";
import { h, roving } from "./dom.js";
import { count, duration, named } from "./format.js";
import { address } from "./router.js";
import { quiet } from "./states.js";
import { timeline } from "./timeline.js";
import { views } from "./views.js";

const STEPS = 30;

export async function overview(at) {
  const [{ operations }, { steps }] = await Promise.all([api.operations(), api.timeline("", STEPS)]);
  if (!operations.length) return quiet("");
  const shares = (one) => (at.median ? one.median_shares : one.shares);
  return [
    h("div", { class: "title" }, h("h1", null, "Who owes which latency"), views(at)),
    legend([...operations.map(shares)]),
    h("section", null,
      h("h2", null, h("a", { href: address({ page: "operation", name: "" }), "data-key": "all" }, "All operations"), " over time"),
      timeline(steps, { median: at.median, name: "" })),
    h("section", null, h("h2", null, "Operations"), table(operations, shares, at.median)),
  ];
}

function table(operations, shares, median) {
  const heads = ["Operation", "Requests", "P50", "P95", "P99", `${median ? "P50" : "P99"} owed to`];
  const rows = operations.map((one) => row(one, shares(one), median));
  const body = roving(h("tbody", null, rows), "a", ["ArrowUp", "ArrowDown"]);
  return h("table", { class: "operations" },
    h("thead", null, h("tr", null, heads.map((head) => h("th", { scope: "col" }, head)))), body);
}

function row(one, shares, median) {
  const { kind, name, hash } = named(one.operation);
  const link = h("a", { href: address({ page: "operation", name: one.operation }), "data-key": `operation ${one.operation}` }, name);
  const figure = (head, value, quiet) => h("td", { class: quiet ? "figure dim" : "figure", "data-head": head }, value);
  return h("tr", null,
    h("th", { scope: "row" }, link, " ", h("span", { class: "dim small" }, [kind, hash].filter(Boolean).join(" "))),
    figure("requests", count(one.request_count)),
    figure("P50", duration(one.p50_ns), !median), figure("P95", duration(one.p95_ns), true), figure("P99", duration(one.p99_ns), median),
    h("td", { class: "wide" }, bar(shares, `${median ? "P50" : "P99"} of ${name}`)));
}

// One operation: its percentiles over time, who owes them, and its slowest traces.

import * as api from "./api.js";
import { blameTable } from "./blame.js";
import { legend, swatch } from "./bar.js";
import { h } from "./dom.js";
import { count, duration, named, range, signed } from "./format.js";
import { address, go, here } from "./router.js";
import { timeline } from "./timeline.js";
import { traceTable } from "./traces.js";
import { views } from "./views.js";

const STEPS = 30;
const TRACES = 20;
const PERCENTILES = [75, 90, 95, 99, 99.9];

export async function operation(at) {
  const asked = [api.blame(at.name), api.timeline(at.name, STEPS), api.traces(at.name, TRACES)];
  const [answer, { steps }, { traces }] = await Promise.all(asked);
  const { kind, name, hash } = named(at.name);
  return [
    h("div", { class: "title" },
      h("h1", null, name, " ", h("span", { class: "dim small" }, [kind, hash].filter(Boolean).join(" "))), percentiles(at), views(at)),
    figures(answer, steps, at),
    verdict(answer, at),
    h("section", null, h("h2", null, "Over time"),
      legend(steps.map((step) => (at.median ? step.median_shares : step.shares))),
      timeline(steps, { median: at.median, name: at.name })),
    h("section", null, h("h2", null, `Who owes the P${at.percentile}`), blameTable(answer, at.percentile)),
    h("section", null, h("h2", null, "Slowest traces"), traceTable(traces, answer)),
  ];
}


function percentiles(at) {
  const options = PERCENTILES.map((one) => h("option", { value: one, selected: one === at.percentile }, `P${one}`));
  const change = ({ target }) => go({ percentile: Number(target.value) });
  return h("select", { "aria-label": "Percentile", "data-key": "percentile", onchange: change }, options);
}

function figures(answer, steps, { percentile }) {
  const seconds = steps.reduce((sum, step) => sum + parseFloat(step.duration), 0) || here().window;
  const figure = (name, value, more = "") => h("div", null, h("dt", null, name), h("dd", null, value, more && h("small", null, more)));
  const rate = Number(answer.request_count) / seconds;
  return h("dl", { class: "figures" },
    figure("Requests", count(answer.request_count), `${count(rate, rate < 10 ? 1 : 0)} per second`),
    figure("P50", duration(answer.median_ns)),
    figure(`P${percentile}`, duration(answer.latency_ns), `± ${count(answer.error_percent, 1)} %`),
    Number(answer.tail_ns) > 0 && figure("Mean beyond it", duration(answer.tail_ns), `${count(answer.tail_count)} requests`));
}

/** The answer in one sentence. */
function verdict(answer, { percentile }) {
  const [first, second] = answer.parts;
  if (!first) return tooFew(answer, percentile);
  const more = Number(answer.latency_ns) - Number(answer.median_ns);
  if (Number(first.excess_low_ns) <= 0)
    return h("p", { class: "verdict" }, `P${percentile} is ${duration(more)} above the median, but no one's part of that is beyond chance.`);
  const near = second && Number(second.excess_high_ns) >= Number(first.excess_low_ns);
  return h("p", { class: "verdict" },
    `P${percentile} is ${duration(more)} above the median; `, h("b", null, swatch(first.label), first.label), " owes ",
    h("b", null, signed(first.excess_ns)), ` of it (95 %: ${range(first.excess_low_ns, first.excess_high_ns)})`,
    near ? [", too close to ", swatch(second.label), second.label, " to tell which is more."] : ".");
}

function tooFew({ tail_count, request_count }, percentile) {
  const lower = PERCENTILES.filter((one) => one < percentile && request_count * (1 - one / 100) >= 31).at(-1);
  return h("p", { class: "verdict few" },
    h("b", null, "Too few to name anyone. "),
    `${count(tail_count)} of the 30 requests that are needed lie beyond P${percentile}. `,
    lower && [h("a", { href: address({ percentile: lower }) }, `Ask for P${lower}`), " or take a longer window."],
    !lower && "Take a longer window.");
}

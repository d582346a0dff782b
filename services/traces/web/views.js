// Choosers that more than one view has.

import { h } from "./dom.js";
import { address } from "./router.js";

/** The tail, or the median: two links, one of which is where we are. */
export function views({ median, percentile }) {
  const option = (text, is) =>
    h("a", { href: address({ median: is }), "aria-current": median === is && "true", "data-key": `view ${is}` }, text);
  const tail = `Tail, P${percentile}`;
  return h("nav", { class: "switch", "aria-label": "Which latency" }, option(tail, false), option("Median, P50", true));
}

// Where we are is in the address alone, so that it can be sent to a colleague.

export const DEFAULT_WINDOW = 300;

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/i;

/** Page, what it is about, and the window of time. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const [, page = "", id = ""] = path.split("/");
  const parameters = new URLSearchParams(query);
  return {
    page: page || "overview",
    id: decoded(id).replace(TRACEPARENT, "$1"), // as `traceresponse` has it
    name: parameters.get("name") ?? "",
    window: Number(parameters.get("window")) || DEFAULT_WINDOW,
    end: Number(parameters.get("end")) || null,
    from: Number(parameters.get("from")) || null,
    median: parameters.get("view") === "median",
    percentile: Number(parameters.get("percentile")) || 99,
    span: parameters.get("span") ?? "",
  };
}

/** A `%` that begins nothing stays as it is: a wrong address is to be answered, not to end the page. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a place; what is left out of `changes` stays as it is here. */
export function address(changes) {
  const { page, id, name, window, end, from, median, percentile, span } = { ...here(), ...changes };
  const said = {
    name,
    window: window === DEFAULT_WINDOW ? "" : window,
    end: end ?? "",
    from: end ? (from ?? "") : "",
    view: median ? "median" : "",
    percentile: percentile === 99 ? "" : percentile,
    span: page === "trace" ? span : "",
  };
  const query = new URLSearchParams(Object.entries(said).filter(([, value]) => value !== "")).toString();
  const path = page === "overview" ? "/" : `/${page}${id ? `/${encodeURIComponent(id)}` : ""}`;
  return `#${path}${query ? `?${query}` : ""}`;
}

export function go(changes) {
  location.hash = address(changes);
}

/** The same place, said a little differently: no step of its own in the browser's history, and nothing is drawn. */
export function note(changes) {
  history.replaceState(null, "", address(changes));
}

/** One step out: from a narrowed window to the live one it came from, from a trace to its operation, from there to all. */
export function out() {
  const at = here();
  if (at.page === "trace") return { page: "operation", id: "", span: "" };
  if (at.end) return { end: null, window: at.from ?? DEFAULT_WINDOW };
  return at.page === "operation" ? { page: "overview", name: "" } : null;
}

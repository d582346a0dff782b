// A label is a service and what it did. The service gives the colour, the rest the pattern: colour is never alone.

const OWN = ["gateway", "agent_store", "vector_search", "graph", "auth", "traces"];
const OTHERS = 4;
const NOBODY = new Set(["remote", "untraced", "other"]);
const STORES = new Set(["postgres", "neo4j", "redis"]);

/** 0 to 9, the same for a service in every view and every browser; `none` for nobody. */
export function colour(label) {
  const service = label.split("/")[0];
  if (NOBODY.has(service)) return "none";
  const known = OWN.indexOf(service);
  return String(known >= 0 ? known : OWN.length + (hash(service) % OTHERS));
}

/** `own`, `store` or `wait`. */
export function pattern(label) {
  const part = label.slice(label.indexOf("/") + 1);
  if (!label.includes("/")) return NOBODY.has(label) ? "wait" : "own";
  return STORES.has(part) ? "store" : part === "embedding" ? "store" : "wait";
}

/** Attributes of whatever shows a label. */
export function paint(label) {
  return { class: pattern(label), "data-colour": colour(label) };
}

function hash(text) {
  return [...text].reduce((sum, letter) => (Math.imul(sum, 31) + letter.codePointAt(0)) >>> 0, 7);
}

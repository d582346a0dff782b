// What the service is asked.

import { here } from "./router.js";

const TOKEN = "token";
const PATIENCE = 20_000;

/** `status` is 0 where nobody answered. */
export class Failure extends Error {
  constructor(status, { reason = "", message = "" } = {}) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

export const operations = () => ask("operations", stretch());
export const timeline = (name, steps) => ask("timeline", { ...stretch(), operation: name, percentile: here().percentile, steps });
export const blame = (name) => ask("blame", { ...stretch(), operation: name, percentile: here().percentile });
export const traces = (name, most) => ask("traces", { ...stretch(), operation: name, page_size: most });
export const trace = (id) => ask(`traces/${encodeURIComponent(id)}`);
export const settings = () => ask("settings");

function stretch() {
  const { window, end } = here();
  return end ? { window, end } : { window };
}

async function ask(path, parameters = {}) {
  const response = await answered(`api/${path}?${new URLSearchParams(parameters)}`);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Failure(response.status, body.error);
  return body;
}

async function answered(url) {
  const headers = token.get() ? { authorization: `Bearer ${token.get()}` } : {};
  try {
    return await fetch(url, { headers, signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    throw new Failure(0);
  }
}

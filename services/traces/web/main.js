// Draws the place that the address names, and again when it changes or time goes on.

import { byKey, h, swap } from "./dom.js";
import { clock, length, named } from "./format.js";
import { operation } from "./operation.js";
import { overview } from "./overview.js";
import { address, go, here, out } from "./router.js";
import { failed, loading } from "./states.js";
import { closeDetails, trace } from "./trace.js";

const VIEWS = { overview, operation, trace };
const WINDOWS = [60, 300, 900, 3600, 21_600, 86_400];
const REFRESH_SECONDS = 5;
const RETRY_SECONDS = 3;
const PATIENT_SECONDS = 0.3;
const COMING = new Set(["OPERATION_NOT_FOUND", "TRACE_NOT_FOUND"]);

const element = (id) => document.getElementById(id);
const main = element("main");
let turn = 0;
let live = true;
let timer = 0;
let shown = "";

async function draw() {
  const at = here();
  const mine = ++turn;
  const place = address({ span: "" });
  const isNew = place !== shown;
  clearTimeout(timer);
  closeWhenLeft(isNew);
  drawHeader(at);
  main.setAttribute("aria-busy", "true");
  const waiting = isNew && setTimeout(() => mine === turn && swap(main, loading()), PATIENT_SECONDS * 1000);
  const drawn = await view(at).finally(() => clearTimeout(waiting));
  if (mine !== turn) return;
  main.setAttribute("aria-busy", "false");
  drawn.failure ? fail(drawn.failure, isNew) : succeed(drawn.content, at, place, isNew);
}

function closeWhenLeft(isNew) {
  if (isNew && shown.startsWith("#/trace")) closeDetails();
}

async function view(at) {
  try {
    return { content: await (VIEWS[at.page] ?? overview)(at) };
  } catch (failure) {
    if (failure.status === undefined) throw failure;
    return { failure };
  }
}

function succeed(content, at, place, isNew) {
  say("");
  swap(main, content);
  shown = place;
  drawHeader(here());
  if (isNew) arrive();
  if (live && !at.end && at.page !== "trace") again(REFRESH_SECONDS);
}

/** What is shown stays while the service is away for a moment; it is asked again and again. */
function fail(failure, isNew) {
  const away = failure.status === 0 || failure.status >= 500;
  if (away && !isNew) say(`The traces service does not answer. What you see is from before; asking again every ${RETRY_SECONDS} s.`);
  else swap(main, failed(failure, draw));
  if (!away || isNew) shown = "";
  if (failure.status === 401 || failure.status === 403) byKey(main, "token")?.focus();
  if (away) again(RETRY_SECONDS);
  if (COMING.has(failure.reason) && live && !here().end) again(REFRESH_SECONDS);
}

function again(seconds) {
  timer = setTimeout(() => (isBusy() ? again(seconds) : draw()), seconds * 1000);
}

/** Nobody looks, or somebody is choosing or copying something that a new drawing would take away. */
function isBusy() {
  const choosing = CSS.supports("selector(:open)") && document.querySelector("select:open");
  return document.hidden || choosing || !getSelection().isCollapsed;
}

function say(text) {
  const notice = element("notice");
  notice.hidden = !text;
  if (notice.textContent !== text) notice.textContent = text;
}

/** A new place begins at its top, and the keyboard at its first thing to choose. */
function arrive() {
  document.title = `${main.querySelector("h1")?.textContent ?? "Traces"} · Neurectomy`;
  if (document.activeElement && document.activeElement !== document.body && document.activeElement !== main) return;
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

function drawHeader(at) {
  const steps = [];
  if (at.page !== "overview") steps.push(h("a", { href: address({ page: "overview", id: "", name: "", span: "" }) }, "Operations"));
  if (at.page === "trace" && at.name) steps.push(h("a", { href: address({ page: "operation", id: "", span: "" }) }, named(at.name).name));
  if (at.page === "operation") steps.push(h("span", { "aria-current": "page" }, named(at.name).name));
  if (at.page === "trace") steps.push(h("span", { "aria-current": "page", class: "code" }, at.id.slice(0, 8)));
  swap(element("path"), h("ol", null, steps.map((step) => h("li", null, step))));
  swap(element("controls"), at.page === "trace" ? [] : [windows(at), at.end ? back(at) : liveSwitch()]);
}

function windows(at) {
  const options = WINDOWS.map((one) => h("option", { value: one, selected: !at.end && one === at.window }, `Last ${length(one)}`));
  const own = at.end ? `${clock(at.end - at.window)} – ${clock(at.end)}` : `Last ${length(at.window)}`;
  if (at.end || !WINDOWS.includes(at.window)) options.unshift(h("option", { value: "", selected: true }, own));
  const change = ({ target }) => target.value && go({ window: Number(target.value), end: null });
  return h("select", { "aria-label": "Window of time", "data-key": "window", onchange: change }, options);
}

function back(at) {
  return h("a", { class: "button", href: address({ end: null, window: at.from ?? 300 }), "data-key": "live" }, "Back to live");
}

function liveSwitch() {
  const title = `Asks again every ${REFRESH_SECONDS} s (l)`;
  const properties = { type: "button", class: "live", "aria-pressed": String(live), title, "data-key": "live", onclick: turnLive };
  return h("button", properties, live ? "Live" : "Paused");
}

function turnLive() {
  live = !live;
  draw();
}

function turnTheme() {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("color-scheme") === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
}

const KEYS = {
  Escape: () => closeDetails() || (out() && go(out())),
  "?": () => element("keys").showModal(),
  d: turnTheme,
  l: turnLive,
  t: () => here().page === "trace" || go({ median: !here().median }),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input, select") && event.key !== "Escape";
  if (typing || event.ctrlKey || event.metaKey || event.altKey || element("keys").open || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
addEventListener("hashchange", draw);
element("theme").addEventListener("click", turnTheme);
element("help").addEventListener("click", KEYS["?"]);
draw();

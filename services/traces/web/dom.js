// Elements without markup: text from data is only ever text.

const SVG = "http://www.w3.org/2000/svg";

/** An element; properties are attributes, `onclick` and its like listeners, and `vars` CSS custom properties. */
export function h(tag, properties, ...children) {
  return filled(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) set(element, name, value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function set(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name === "vars") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
  else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else element.setAttribute(name, value === true ? "" : value);
}

/** New content; what had the focus, and what was open, has it again if it has the same data-key. */
export function swap(container, ...children) {
  const focused = document.activeElement?.dataset?.key;
  const open = new Set([...container.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
  container.replaceChildren(...children.flat(Infinity).filter(Boolean));
  for (const one of container.querySelectorAll("details[data-key]")) one.open ||= open.has(one.dataset.key);
  if (focused) byKey(container, focused)?.focus({ preventScroll: true });
}

export function byKey(container, key) {
  return container.querySelector(`[data-key="${CSS.escape(key)}"]`);
}

/** Arrow keys move the focus through items, of which only one is in the tab order. */
export function roving(container, selector, [before, after]) {
  const items = () => [...container.querySelectorAll(selector)];
  const current = (all) => all.forEach((item) => (item.tabIndex = -1));
  const first = items();
  current(first);
  const start = first.find((item) => item.dataset.key === document.activeElement?.dataset?.key) ?? first[0];
  if (start) start.tabIndex = 0;
  container.addEventListener("focusin", ({ target }) => {
    const all = items();
    if (!all.includes(target)) return;
    current(all);
    target.tabIndex = 0;
  });
  container.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(event.target);
    const to = { [before]: at - 1, [after]: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(to, all.length - 1))].focus();
  });
  return container;
}

// Elements without HTML: whatever comes from people, documents or models becomes a text node, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in PROPERTIES) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PROPERTIES = { value: 1, checked: 1, disabled: 1, open: 1, hidden: 1, selected: 1 };

/** An element; `properties` are attributes, and listeners under `onclick` and the like. */
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** The same for SVG. */
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** Puts children in the place of what is there. */
export function put(element, ...children) {
  element.replaceChildren();
  return fill(element, {}, children);
}

const ICONS = {
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M7 7h10v10H7z",
  plus: "M12 5v14M5 12h14",
  clip: "M20 11.5 12 19.4a5 5 0 0 1-7.1-7L13 4.5a3.3 3.3 0 0 1 4.7 4.7l-8 7.9a1.6 1.6 0 0 1-2.3-2.3l7.3-7.2",
  up: "M7 10v10H4V10zM7 10l4-7a2.5 2.5 0 0 1 2.4 3L13 9h5.5a2 2 0 0 1 2 2.4l-1.3 7a2 2 0 0 1-2 1.6H7",
  down: "M17 14V4h3v10zM17 14l-4 7a2.5 2.5 0 0 1-2.4-3L11 15H5.5a2 2 0 0 1-2-2.4l1.3-7a2 2 0 0 1 2-1.6H17",
  pen: "M4 20h4L19 9a2.8 2.8 0 0 0-4-4L4 16zM13.5 6.5l4 4",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  retry: "M20 11a8 8 0 1 0-2.3 6M20 5v6h-6",
  close: "M6 6l12 12M18 6 6 18",
  menu: "M4 7h16M4 12h16M4 17h16",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5 20 20",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  save: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  team: "M9 4.5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM3.5 19c0-3 2.5-5 5.5-5s5.5 2 5.5 5M16 5.2a3 3 0 0 1 0 5.1M17.5 14.3c2 .7 3 2.5 3 4.7",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  auto: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 3.5v17M12 8l6-2.5M12 12h8.5M12 16l6 2.5",
  check: "M5 12.5 10 17.5 19.5 7",
  hand: "M12 3v10M8 5.5V13M16 5v8M4.5 11l2 4.5c1 3 3 5.5 6.5 5.5 4 0 7-2.5 7-7V7.5",
  help: "M9.5 9.5a2.6 2.6 0 1 1 3.8 2.3c-.9.5-1.3 1-1.3 2.2M12 17.5h.01M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
  leave: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
  out: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  build: "M14.5 6.5a4 4 0 0 0-5.3 5.2L4 17l3 3 5.3-5.2a4 4 0 0 0 5.2-5.3L15 12l-3-3z",
};

/** A line drawing of 24 by 24; it says nothing to a screen reader, so its button has a label. */
export function icon(name) {
  return s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** A button with words; `kind` is how it looks besides. */
export const button = (kind, onclick, ...inside) => h("button", { type: "button", class: `button ${kind}`, onclick }, inside);

/** Fields that are sent together; `send` is called instead of what a browser would do. */
export const form = (kind, send, ...inside) => h("form", { class: kind, onsubmit: (event) => { event.preventDefault(); send(); } }, inside);
export const submit = (...inside) => h("button", { class: "button main" }, inside);

export const row = (kind, ...inside) => h("div", { class: `row ${kind}` }, inside);
export const named = (...inside) => h("label", { class: "named" }, inside);
export const spin = () => h("span", { class: "spin" });

export const soft = (...inside) => h("p", { class: "soft small" }, inside);
export const pill = (kind, ...inside) => h("span", { class: `pill ${kind}` }, inside);

/** Names and what belongs to each. */
export const pairs = (kind, rows) => h("dl", { class: kind }, rows.map(([name, ...inside]) => [h("dt", {}, name), h("dd", {}, inside)]));

/** A place for what is wrong, which is read out when it comes. */
export const alarm = (...inside) => h("p", { class: "bad small", role: "alert" }, inside);
export const failure = (...inside) => h("p", { class: "error", role: "alert" }, inside);
export const nothing = (...inside) => h("p", { class: "empty" }, inside);

/** What may be wider than the page, and is scrolled with keys, too. */
export const region = (kind, label, ...inside) => h("div", { class: kind, tabindex: "0", role: "region", "aria-label": label }, inside);
export const column = (...inside) => h("th", { scope: "col" }, inside);

/** A button that is only an icon. */
export function iconButton(name, label, onclick, more) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...more }, icon(name));
}

/** A bar from 0 to 1; the number stands beside it, for everybody. */
export function bar(share, kind = "") {
  const inner = h("i", { class: kind });
  inner.style.width = `${Math.round(1000 * Math.max(0, Math.min(1, share))) / 10}%`;
  return h("span", { class: "bar", "aria-hidden": "true" }, inner);
}

/** A text whose part is marked: `text` with `quote` in it, or `quote` alone where it is not in there. */
export function marked(text, quote, kind = "") {
  if (!quote) return [text];
  const at = text.indexOf(quote);
  if (at < 0) return [h("mark", { class: kind }, quote)];
  return [text.slice(0, at), h("mark", { class: kind }, quote), text.slice(at + quote.length)];
}

/** A number from 0 to 4 that stays with a name: its colour. */
export function hue(name, names = []) {
  const place = names.indexOf(name);
  if (place >= 0) return place % 5;
  return [...name].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 5;
}

/** The coloured dot of a specialist. */
export const dot = (name, names) => h("span", { class: `dot hue-${hue(name, names)}`, "aria-hidden": "true" });

/** Says something to screen readers, politely. */
export function say(text) {
  put(document.getElementById("said"), text);
}

// The language of the page: English stands in the code, German in a table of it. And numbers and times in its manner.

import { german } from "./german.js";

let chosen = "en";

export const language = () => chosen;

export function setLanguage(name) {
  chosen = name === "de" ? "de" : "en";
}

/** The words in the chosen language; `{name}` in them is replaced by a value. */
export function t(words, values = {}) {
  const said = (chosen === "de" && german[words]) || words;
  return said.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

const number = (options) => new Intl.NumberFormat(chosen, options);

export const percent = (share) => number({ style: "percent", maximumFractionDigits: 0 }).format(share);
/** A value of any kind as text. */
export const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));
export const exact = (n) => number({ maximumFractionDigits: 12 }).format(n);
export const count = (n) => number().format(n);
export const figure = (value) => number({ minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(value);
export const seconds = (value) => (value < 0.0995 ? `${number({ maximumFractionDigits: value < 0.01 ? 1 : 0 }).format(1000 * value)} ms` : `${number({ maximumFractionDigits: value < 10 ? 1 : 0 }).format(value)} s`);
export const when = (time) => new Intl.DateTimeFormat(chosen, { dateStyle: "medium", timeStyle: "short" }).format(new Date(time));

/** Today, yesterday, or the month. */
export function day(time) {
  const then = new Date(time);
  const ago = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / 86_400_000);
  if (ago < 2) {
    const said = new Intl.RelativeTimeFormat(chosen, { numeric: "auto" }).format(-ago, "day");
    return said[0].toUpperCase() + said.slice(1);
  }
  if (ago < 7) return t("This week");
  return new Intl.DateTimeFormat(chosen, { month: "long", year: "numeric" }).format(then);
}

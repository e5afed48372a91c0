// A document at the side, opened where a quote stands, with the quote marked: in its text, or on a picture of the page.

import * as api from "./api.js";
import { button, column, h, iconButton, put, region, spin } from "./dom.js";
import { download } from "./threads.js";
import { t } from "./words.js";

const paper = document.getElementById("paper");
let opener = null;
let asked = 0;

const tell = (shown) => document.getElementById("app").dispatchEvent(new CustomEvent("paper", { detail: shown }));

/** Closes it; says whether it was open. */
export function closePaper() {
  if (paper.hidden) return false;
  asked += 1;
  paper.hidden = true;
  put(paper);
  tell(false);
  opener?.focus?.();
  return true;
}

/** @param place {source, start, end, page, heading, quote, kind, thread}: as a citation has it. */
export async function openPaper(place, from = null) {
  opener = from;
  const mine = (asked += 1);
  paper.hidden = false;
  paper.setAttribute("aria-label", t("Document"));
  tell(true);
  const name = place.source.split("/").at(-1);
  put(paper, top(name, place.source, []), h("div", { class: "sheet" }, spin()));
  let found;
  try {
    found = await api.get(`api/document${api.query({ source: place.source, start: place.start, thread: place.thread })}`);
  } catch (error) {
    if (mine === asked) put(paper, top(name, place.source, []), h("p", { class: "sheet" }, error.message));
    return;
  }
  if (mine !== asked) return;
  const sheet = found.pages && place.page ? picture : text;
  show(sheet, place, found);
}

function show(sheet, place, found) {
  const buttons = [];
  if (found.pages) {
    const page = place.page ?? 1;
    const other = sheet === picture ? text : picture;
    buttons.push(button("small", () => show(other, { ...place, page }, found), sheet === picture ? t("Text") : t("Page")));
  }
  if (found.original) buttons.push(iconButton("save", t("Save the original file"), () => save(place)));
  const where = [place.page && found.pages && t("page {n}", { n: place.page }), ...(place.heading ?? [])].filter(Boolean).join(" › ");
  put(paper, top(found.title || place.source.split("/").at(-1), where || place.source, buttons), sheet(place, found));
  paper.querySelector("h2").focus({ preventScroll: true });
  const mark = paper.querySelector("mark, tr.here");
  if (mark) mark.scrollIntoView({ block: "center" });
  else paper.scrollTop = 0;
}

const top = (title, where, buttons) => h("header", { class: "sheet-top" },
  h("div", { class: "grow" }, h("h2", { tabindex: "-1" }, title), h("p", { title: where }, where)), buttons, iconButton("close", t("Close"), closePaper));

async function save(place) {
  download(await api.blob(`api/document/original${api.query({ source: place.source, thread: place.thread })}`), place.source.split("/").at(-1));
}

/** The page as it looks, the quote marked on it. */
function picture(place, found) {
  const page = Number(place.page);
  const image = h("img", { alt: t("Page {n} of {title}", { n: page, title: found.title }) });
  const figure = h("figure", { class: "leaf-picture" }, spin());
  const turn = (to) => show(picture, { ...place, page: to, quote: to === Number(place.page) ? place.quote : "" }, found);
  const steps = found.pages > 1 && h("div", { class: "row" },
    h("button", { type: "button", class: "button small", disabled: page <= 1, onclick: () => turn(page - 1) }, t("Back")),
    h("span", { class: "small soft number" }, t("{n} of {all}", { n: page, all: found.pages })),
    h("button", { type: "button", class: "button small", disabled: page >= found.pages, onclick: () => turn(page + 1) }, t("Next")));
  api.blob(`api/document/page${api.query({ source: place.source, page, quote: place.quote, thread: place.thread })}`).then((data) => {
    image.src = URL.createObjectURL(data);
    image.onload = () => URL.revokeObjectURL(image.src);
    put(figure, image, place.quote && h("figcaption", { class: "unseen" }, h("q", {}, place.quote)), steps);
  }, (error) => put(figure, h("p", {}, error.message)));
  return figure;
}

/** The text with its headings, tables and pages. */
function text(place, found) {
  const from = Number(place.start ?? -1);
  const to = Number(place.end ?? -1);
  const kind = place.kind ?? "";
  return h("div", { class: "sheet" },
    found.before && h("p", { class: "leaf" }, t("the beginning is left out")),
    found.blocks.map((block) => BLOCKS[block.kind](block, from, to, kind)),
    found.after && h("p", { class: "leaf" }, t("the document goes on")));
}

const BLOCKS = {
  page: (block) => h("p", { class: "leaf" }, t("page {n}", { n: block.number })),
  heading: (block, from, to, kind) => h(`h${Math.min(6, 2 + block.level)}`, {}, mark(block, from, to, kind)),
  paragraph: (block, from, to, kind) => h("p", {}, mark(block, from, to, kind)),
  table: (block, from, to, kind) => region("wide", t("Table"), h("table", {},
    h("thead", {}, h("tr", {}, block.columns.map((name) => column(name)))),
    h("tbody", {}, block.rows.map((row) => h("tr", { class: row.start < to && row.end > from ? "here" : null },
      row.cells.map((cell) => h("td", {}, cell && mark(cell, from, to, kind)))))))),
};

/** The text of a piece that begins at `start` in the document; what lies between `from` and `to` is marked. */
function mark({ text: words, start }, from, to, kind) {
  const a = Math.max(0, from - start);
  const b = Math.min(words.length, to - start);
  if (a >= b) return words;
  return [words.slice(0, a), h("mark", { class: kind }, words.slice(a, b)), words.slice(b)];
}

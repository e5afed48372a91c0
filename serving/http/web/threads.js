// The conversations at the side: search, rename, delete, export.

import * as api from "./api.js";
import { button, h, icon, iconButton, put, say, soft } from "./dom.js";
import { day, t } from "./words.js";

let sought = "";
let here = null;
let asked = 0;
const list = h("div", { class: "threads" });

/** The search field and the list. */
export function showThreads(world, thread) {
  here = thread;
  const find = h("input", {
    id: "find", class: "field", type: "search", value: sought, placeholder: t("Search"), "aria-label": t("Search conversations"),
    oninput: (event) => { sought = event.target.value; clearTimeout(find.wait); find.wait = setTimeout(() => listThreads(world), 120); },
  });
  listThreads(world);
  return [h("div", { class: "find" }, icon("search"), find), list];
}

/** Asks for the list again and shows it; `thread` is the one that is open now. */
export async function listThreads(world, thread = here) {
  here = thread;
  const mine = (asked += 1);
  let threads;
  try {
    threads = await api.get(`api/threads${api.query({ search: sought })}`);
  } catch (error) {
    if (mine === asked) put(list, soft(error.message));
    return;
  }
  if (mine !== asked) return; // a later question overtook this one
  const groups = new Map();
  for (const thread of threads) {
    const when = day(thread.at);
    groups.set(when, [...(groups.get(when) ?? []), thread]);
  }
  const empty = h("p", { class: "soft small empty" }, sought ? t("Nothing found.") : t("Your conversations will stand here."));
  put(list, threads.length ? [...groups].map(([when, some]) => [h("h2", {}, when), h("ul", {}, some.map((one) => item(world, one)))]) : empty);
}

function item(world, thread) {
  const title = thread.title || thread.task;
  const entry = h("li", { class: thread.id === here ? "here" : null },
    h("a", { href: `#/thread/${encodeURIComponent(thread.id)}`, title, "aria-current": thread.id === here ? "page" : null },
      thread.standing === "waiting" && h("span", { class: "waits", title: t("waits for you") }, h("span", { class: "unseen" }, t("waits for you"))), title),
    iconButton("more", t("More about “{title}”", { title }), (event) => menu(world, thread, entry, event.currentTarget), { "aria-haspopup": "menu" }));
  return entry;
}

function menu(world, thread, entry, button) {
  document.querySelector(".menu")?.remove();
  const close = () => { box.remove(); removeEventListener("pointerdown", outside, true); button.focus(); };
  const outside = (event) => { if (!box.contains(event.target)) { box.remove(); removeEventListener("pointerdown", outside, true); } };
  const choice = (picture, text, what, kind = "") => h("button", { type: "button", role: "menuitem", class: kind, onclick: () => { close(); what(); } }, icon(picture), text);
  const box = h("div", { class: "menu", role: "menu", onkeydown: (event) => move(event, box, close) },
    choice("pen", t("Rename"), () => rename(world, thread, entry)),
    choice("save", t("Save as Markdown"), () => save(thread, "md")),
    choice("save", t("Save as JSON"), () => save(thread, "json")),
    choice("trash", t("Delete"), () => erase(world, thread, entry), "bad"));
  document.body.append(box);
  const place = button.getBoundingClientRect();
  box.style.left = `${Math.max(8, Math.min(place.left, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${Math.min(place.bottom + 4, innerHeight - box.offsetHeight - 8)}px`;
  box.querySelector("button").focus();
  setTimeout(() => addEventListener("pointerdown", outside, true));
}

function move(event, box, close) {
  const items = [...box.querySelectorAll("button")];
  const at = items.indexOf(document.activeElement);
  if (event.key === "Escape" || event.key === "Tab") { event.preventDefault(); event.stopPropagation(); close(); }
  if (event.key === "ArrowDown") { event.preventDefault(); items[(at + 1) % items.length].focus(); }
  if (event.key === "ArrowUp") { event.preventDefault(); items[(at + items.length - 1) % items.length].focus(); }
}

function rename(world, thread, entry) {
  let done = false;
  const end = async (keep) => {
    if (done) return;
    done = true;
    const title = field.value.trim();
    if (keep && title && title !== thread.title) await api.patch(`api/threads/${api.at(thread.id)}`, { title }).catch((error) => say(error.message));
    await listThreads(world);
  };
  const field = h("input", {
    class: "field", value: thread.title || thread.task, "aria-label": t("New title"), maxlength: 200,
    onblur: () => end(true),
    onkeydown: (event) => { if (event.key === "Enter") end(true); if (event.key === "Escape") { event.stopPropagation(); end(false); } },
  });
  put(entry, field);
  field.focus();
  field.select();
}

function erase(world, thread, entry) {
  const sure = async () => {
    await api.remove(`api/threads/${api.at(thread.id)}`).catch((error) => say(error.message));
    say(t("Deleted."));
    if (thread.id === here) location.hash = "#/";
    else listThreads(world);
  };
  put(entry, h("div", { class: "row", role: "group", "aria-label": t("Delete for good?") },
    h("span", { class: "small" }, t("Delete for good?")),
    button("danger small", sure, t("Delete")),
    button("small", () => listThreads(world), t("No"))));
  entry.querySelector("button").focus();
}

async function save(thread, format) {
  const data = await api.blob(`api/threads/${api.at(thread.id)}/export${api.query({ format })}`);
  download(data, `${(thread.title || thread.id).replace(/[^\p{L}\p{N} _-]+/gu, "").slice(0, 60).trim() || "conversation"}.${format}`);
}

/** Hands a file to the browser's downloads. */
export function download(data, name) {
  const link = h("a", { href: URL.createObjectURL(data), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

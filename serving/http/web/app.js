// Starts the page: who we talk to, which view the address names, keys, mode and language.

import { LOGIN, get, post } from "./api.js";
import { openChat } from "./chat.js";
import { closePaper, openPaper } from "./document.js";
import { alarm, button, form, h, icon, iconButton, named, pairs, put, row, submit } from "./dom.js";
import { listThreads, showThreads } from "./threads.js";
import { language, setLanguage, t } from "./words.js";

const app = document.getElementById("app");
const main = document.getElementById("main");

/** What all views share. */
export const world = { team: null, main, names: [], go: (hash) => { location.hash = hash; }, threads: (thread) => listThreads(world, thread) };

const MODES = ["auto", "light", "dark"];
const stored = (name, otherwise) => { try { return localStorage.getItem(name) ?? otherwise; } catch { return otherwise; } };
const store = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private windows may not keep anything */ } };
const dusk = matchMedia("(prefers-color-scheme: dark)");

function paint() {
  const mode = stored("mode", "auto");
  document.documentElement.dataset.mode = mode === "auto" ? (dusk.matches ? "dark" : "light") : mode;
}

function foot(view) {
  const mode = stored("mode", "auto");
  const named = { auto: t("Colours of the system"), light: t("Light"), dark: t("Dark") }[mode];
  const next = () => { store("mode", MODES[(MODES.indexOf(mode) + 1) % MODES.length]); paint(); route(); };
  const other = language() === "de" ? "en" : "de";
  const turn = () => { setLanguage(other); store("language", other); route(); };
  return h("div", { class: "foot" },
    h("a", { href: "#/team", "aria-current": view === "team" ? "page" : null }, icon("team"), t("The team")),
    h("button", { type: "button", class: "icon-button language", onclick: turn, lang: other, "aria-label": other === "de" ? "Deutsch" : "English" }, other.toUpperCase()),
    iconButton({ auto: "auto", light: "sun", dark: "moon" }[mode], named, next),
    iconButton("help", t("Keys"), showKeys));
}

function side(view, thread) {
  put(document.getElementById("side"),
    h("a", { class: "wordmark", href: "#/", "aria-label": `metier: ${world.team.name}` }, "metier", h("small", {}, world.team.name)),
    h("a", { class: "button main new", href: "#/", onclick: () => { if (location.hash === "#/") route(); } }, icon("plus"), t("New conversation")),
    showThreads(world, thread),
    world.team.signed_in && me(),
    foot(view));
}

/** Who is signed in, and the way out. */
function me() {
  const signOut = async () => { await post("api/logout"); location.reload(); };
  return row("", h("p", { class: "soft small grow", title: t("Signed in") }, world.team.user), iconButton("leave", t("Sign out"), signOut));
}

/** A bar over the view on phones. */
export function topBar(title) {
  const open = () => { document.body.classList.add("side-open"); document.querySelector("#side a")?.focus(); };
  return h("div", { class: "top" },
    iconButton("menu", t("Conversations"), open),
    h("p", {}, title),
    iconButton("plus", t("New conversation"), () => { location.hash = "#/"; }));
}

const part = (text) => decodeURIComponent(text ?? "");

async function route() {
  document.body.classList.remove("side-open");
  document.documentElement.lang = language();
  const [path, query] = location.hash.slice(2).split("?");
  const [view, first, ...more] = path.split("/");
  document.getElementById("skip").textContent = t("Skip to the conversation");
  main.setAttribute("aria-label", view === "team" ? t("The team") : t("Conversation"));
  side(view, view === "thread" ? part(first) : null);
  if (view === "document") {
    await openChat(world, null);
    await openPaper({ source: [first, ...more].map(part).join("/"), ...Object.fromEntries(new URLSearchParams(query)) });
    return;
  }
  closePaper();
  if (view === "team") {
    const { openTeam } = await import("./team.js");
    await openTeam(world, part(first), ...more.map(part));
  } else {
    await openChat(world, view === "thread" ? part(first) : null);
  }
}

function showKeys() {
  const keys = [
    ["Enter", t("Send")], ["Shift Enter", t("New line")], ["/", t("Write a question")], ["Esc", t("Stop; close")],
    ["Ctrl K", t("Search conversations")], ["Alt N", t("New conversation")], ["↑", t("The last question again")], ["?", t("Keys")],
  ];
  const box = h("dialog", { class: "card", "aria-label": t("Keys") },
    row("", h("h2", { class: "grow" }, t("Keys")), iconButton("close", t("Close"), () => box.close())),
    pairs("facts", keys.map(([key, what]) => [h("kbd", {}, key), what])));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}

function keys(event) {
  const writing = event.target.matches?.("input, textarea, select");
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    document.body.classList.add("side-open");
    document.getElementById("find")?.focus();
  } else if (event.altKey && event.key.toLowerCase() === "n") {
    event.preventDefault();
    location.hash = "#/";
  } else if (event.key === "Escape") {
    if (document.body.classList.contains("side-open")) document.body.classList.remove("side-open");
    else if (!closePaper()) document.dispatchEvent(new Event("stop"));
  } else if (!writing && event.key === "/") {
    event.preventDefault();
    document.getElementById("task")?.focus();
  } else if (!writing && event.key === "?") {
    showKeys();
  }
}

/** For a server that has users. */
function signIn() {
  const user = h("input", { class: "field", name: "user", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true });
  const password = h("input", { class: "field", name: "password", type: "password", autocomplete: "current-password", required: true });
  const wrong = alarm();
  const button = submit(t("Sign in"));
  const enter = async () => {
    button.disabled = true;
    wrong.textContent = "";
    try {
      await post(LOGIN, { user: user.value.trim(), password: password.value });
      location.reload();
    } catch (error) {
      wrong.textContent = error.status === 401 ? t("Name or password is wrong.") : error.message;
      password.value = "";
      button.disabled = false;
      password.focus();
    }
  };
  return form("hello", enter,
    h("h1", { class: "greeting" }, t("Who are you?")), h("p", { class: "about" }, t("This team answers those whom it knows.")),
    h("div", { class: "card fix" }, named(t("Your name"), user), named(t("Your password"), password), wrong, button));
}

async function start() {
  setLanguage(stored("language", navigator.language.slice(0, 2)));
  paint();
  dusk.addEventListener("change", paint);
  document.addEventListener("signed-out", () => { if (world.team) location.reload(); });
  try {
    world.team = await get("api/team");
  } catch (error) {
    put(main, error.status === 401 ? signIn() : h("div", { class: "hello" }, h("h1", { class: "greeting" }, t("The team cannot be reached")), h("p", { class: "about" }, error.message),
      button("main", () => location.reload(), t("Try again"))));
    return;
  }
  world.names = world.team.specialists.map((one) => one.name);
  document.title = `${world.team.name} · metier`;
  addEventListener("hashchange", route);
  addEventListener("keydown", keys);
  document.addEventListener("click", (event) => {
    const open = document.body.classList.contains("side-open");
    if (open && !event.target.closest("#side") && !event.target.closest(".top")) document.body.classList.remove("side-open");
  });
  app.addEventListener("paper", (event) => app.classList.toggle("reading", event.detail));
  await route();
}

paint();
start();

// The documents of the specialists: add, remove, build again, search.

import * as api from "./api.js";
import { source } from "./answer.js";
import { openPaper } from "./document.js";
import { bar, button, column, dot, failure, form, h, icon, iconButton, nothing, pill, put, region, row, say, spin, submit } from "./dom.js";
import { count, t } from "./words.js";

const withDocuments = (world) => world.team.specialists.filter((one) => one.has_documents).map((one) => one.name);

export function choose(names, chosen, onchange) {
  const select = h("select", { class: "field", "aria-label": t("Specialist"), onchange: () => onchange(select.value) }, names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  return select;
}

export async function documents(panel, world, named) {
  const names = withDocuments(world);
  if (!names.length) { put(panel, nothing(t("Nobody on this team has documents."))); return; }
  const name = names.includes(named) ? named : names[0];
  const state = h("div", { class: "doing", role: "status" });
  const listed = h("div", {});
  const pick = h("input", { type: "file", multiple: true, hidden: true, onchange: () => add([...pick.files]) });
  const drop = h("div", {
    class: "drop", ondragover: (event) => { event.preventDefault(); drop.classList.add("over"); }, ondragleave: () => drop.classList.remove("over"),
    ondrop: (event) => { event.preventDefault(); drop.classList.remove("over"); add([...event.dataTransfer.files]); },
  }, icon("file"), h("p", {}, t("Drop documents for {who} here: PDF, Word, Markdown, HTML, CSV, text …", { who: name })),
  button("", () => pick.click(), t("Choose files")), pick);
  const admin = world.team.scopes.includes("admin");
  const top = row("", choose(names, name, (one) => { location.hash = `#/team/documents/${one}`; }), h("span", { class: "grow" }),
    admin && button("", () => build(state, world, show), icon("build"), t("Build again")));
  put(panel, top, admin && drop, state, listed);

  async function show() {
    const all = await api.get(`api/documents/${api.at(name)}`);
    const rows = all.map((one) => h("tr", {},
      h("td", {}, h("button", { type: "button", class: "row", onclick: (event) => openPaper({ source: one.source }, event.currentTarget) }, icon("file"), h("span", { class: "grow" }, h("b", {}, one.title || one.source), h("br"), h("span", { class: "soft small" }, one.source)))),
      h("td", { class: "number" }, count(one.passages)), h("td", { class: "number" }, count(one.characters)),
      admin && h("td", { class: "number" }, iconButton("trash", t("Remove {name}", { name: one.source }), (event) => ask(event.currentTarget, one)))));
    put(listed, rows.length ? region("card wide", t("Documents"), h("table", {},
      h("thead", {}, h("tr", {}, column(t("Document")), h("th", { scope: "col", class: "number" }, t("Passages")), h("th", { scope: "col", class: "number" }, t("Characters")), admin && column(h("span", { class: "unseen" }, t("Remove"))))),
      h("tbody", {}, rows))) : nothing(t("No documents yet.")));
  }

  function ask(pressed, one) {
    put(pressed.parentElement, button("danger small", async () => {
      await api.remove(`api/documents/${api.at(name, one.source)}`).then(() => build(state, world, show), (error) => failed(state, error));
    }, t("Remove"))).querySelector("button").focus();
  }

  async function add(files) {
    pick.value = "";
    let sent = 0;
    for (const file of files) {
      put(state, h("p", { class: "row" }, spin(), t("Sending {name} …", { name: file.name })));
      try {
        await api.put(`api/documents/${api.at(name, file.name)}`, file);
        sent += 1;
      } catch (error) {
        failed(state, new Error(`${file.name}: ${error.message}`));
        return;
      }
    }
    if (sent) await build(state, world, show);
  }
  await show();
}

function failed(state, error) {
  put(state, failure(icon("help"), error.message));
}

async function build(state, world, then) {
  const text = h("span", { class: "grow" }, t("Building …"));
  const track = h("div", {}, bar(0));
  put(state, h("div", { class: "card doing" }, h("p", { class: "row" }, spin(), text), track));
  let report = null;
  let wrong = null;
  try {
    await api.events("POST", "api/build", {}, (name, data) => {
      if (name === "progress") {
        text.textContent = data.what;
        put(track, bar(data.total ? data.done / data.total : 0, "chosen"));
      } else if (name === "report") report = data;
      else if (name === "error") wrong = new Error(data.message);
    });
  } catch (error) {
    wrong = error;
  }
  if (wrong) { failed(state, wrong); return; }
  world.team = await api.get("api/team");
  const skipped = Object.entries(report?.skipped ?? {}).map(([name, why]) => h("li", { class: "bad" }, `${name}: ${why}`));
  put(state, h("div", { class: "card" }, h("p", { class: "row" }, icon("check"), t("Ready. New answers use what was built.")), skipped.length > 0 && h("ul", { class: "small" }, skipped)));
  say(t("Ready. New answers use what was built."));
  await then();
}

export async function search(panel, world) {
  const names = withDocuments(world);
  const found = h("div", { class: "found", "aria-live": "polite" });
  const field = h("input", { class: "field grow", type: "search", "aria-label": t("Search the documents"), placeholder: t("Search the documents") });
  const select = choose(["", ...names], "", () => field.value && asked.requestSubmit());
  select.options[0].textContent = t("all");
  const asked = form("row", async () => {
    if (!field.value.trim()) return;
    put(found, spin());
    try {
      const passages = await api.get(`api/search${api.query({ q: field.value, specialist: select.value })}`);
      put(found, passages.length ? passages.map(passage) : nothing(t("Nothing found.")));
    } catch (error) {
      put(found, failure(error.message));
    }
  }, field, select, submit(icon("search"), t("Search")));
  const passage = (one) => h("div", {}, source({ ...one, context: one.text, quote: one.quote || "" }, one.score.toFixed(2), one.quote ? "maybe" : ""),
    h("p", { class: "row small soft" }, dot(one.specialist, world.names), one.specialist, Object.entries(one.signals).map(([name, value]) => pill("number", `${name} ${value.toFixed(2)}`))));
  put(panel, h("p", { class: "soft" }, t("What a specialist would read for a question, best first.")), asked, found);
  field.focus();
}

// What the team remembers of the person who asks: see, correct, erase.

import * as api from "./api.js";
import { alarm, button, form, h, icon, iconButton, nothing, put, say, soft, submit } from "./dom.js";
import { download } from "./threads.js";
import { t, when } from "./words.js";

export async function memory(panel, world) {
  const again = () => memory(panel, world);
  const wrong = alarm();
  const tried = async (work, told) => {
    try {
      await work();
      say(told);
      await again();
    } catch (error) {
      wrong.textContent = error.message;
    }
  };
  const facts = await api.get("api/memory");
  const text = h("input", { class: "field grow", "aria-label": t("Something to remember"), placeholder: t("Something to remember"), maxlength: 4000 });
  const add = form("row", () => { if (text.value.trim()) tried(() => api.post("api/memory", { text: text.value }), t("Noted.")); }, text, h("button", { class: "button" }, icon("plus"), t("Add")));
  const list = facts.length ? facts.map((fact) => entry(fact, tried)) : nothing(t("Nothing is remembered of you."));
  put(panel, h("p", { class: "soft" }, t("What you said in conversations and what may be quoted to you later. Nobody else sees it.")), add, wrong, h("section", { class: "card" }, list),
    h("div", { class: "row" },
      button("", async () => download(await api.blob("api/memory/export"), "memory.json"), icon("save"), t("Save everything kept of me")),
      facts.length > 0 && button("danger", (event) => sure(event.currentTarget, () => tried(() => api.remove("api/memory"), t("Erased."))), icon("trash"), t("Forget all of this"))));
}

function entry(fact, tried) {
  const row = h("div", { class: "fact" },
    h("div", { class: "grow" }, h("p", {}, fact.text), soft([fact.how === "added" ? t("added") : t("said"), when(fact.when), fact.specialist && t("only for {who}", { who: fact.specialist })].filter(Boolean).join(" · "))),
    iconButton("pen", t("Correct: {text}", { text: fact.text }), () => edit(row, fact, tried)),
    iconButton("trash", t("Forget: {text}", { text: fact.text }), () => tried(() => api.remove(`api/memory/${api.at(fact.id)}`), t("Forgotten."))));
  return row;
}

function edit(row, fact, tried) {
  const field = h("input", { class: "field grow", value: fact.text, "aria-label": t("The right words"), maxlength: 4000 });
  put(row, form("row grow", () => { if (field.value.trim()) tried(() => api.patch(`api/memory/${api.at(fact.id)}`, { text: field.value }), t("Corrected.")); },
    field, submit(t("Save"))));
  field.focus();
}

function sure(pressed, then) {
  const yes = button("danger", then, t("Yes, for good"));
  pressed.replaceWith(yes);
  yes.focus();
}

// What people said about answers, waiting to become examples.

import * as api from "./api.js";
import { alarm, button, dot, h, icon, named, nothing, pill, put, row, say, soft } from "./dom.js";
import { t, when } from "./words.js";

export async function review(panel, world) {
  const notes = await api.get("api/review");
  if (!notes.length) {
    put(panel, nothing(t("Nothing waits for review. Thumbs and corrections of answers come here.")));
    return;
  }
  put(panel, h("p", { class: "soft" }, t("What you accept becomes an example that the specialist learns from.")), notes.map((one) => card(one, panel, world)));
}

function card({ note, answer, refused }, panel, world) {
  const verdict = { good: t("good"), bad: t("bad"), correction: t("corrected") }[note.verdict];
  const right = h("textarea", { class: "field", rows: 2, value: answer ?? "" });
  const wrong = alarm(refused);
  const settle = async (body) => {
    try {
      await api.post(`api/review/${api.at(note.specialist, note.id)}`, body);
      say(body.accept ? t("It is an example now.") : t("Taken out."));
      await review(panel, world);
      panel.querySelector("button")?.focus();
    } catch (error) {
      wrong.textContent = error.message;
    }
  };
  return h("article", { class: "card note" },
    row("", dot(note.specialist, world.names), h("b", {}, note.specialist), pill(note.verdict === "good" ? "good" : "doubt", verdict),
      note.version && h("span", { class: "soft small mono" }, note.version), h("span", { class: "grow" }), h("span", { class: "soft small" }, when(note.at))),
    h("h2", {}, note.task),
    h("div", {}, soft(t("It said")), h("blockquote", {}, note.answer)),
    named(t("The right answer"), right), wrong,
    h("div", { class: "row end" },
      button("", () => settle({}), t("Dismiss")),
      h("button", { type: "button", class: "button main", disabled: Boolean(refused), onclick: () => settle({ accept: right.value }) }, icon("check"), t("Accept as example"))));
}

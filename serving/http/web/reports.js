// Evaluations as they were last measured, and where the time of the last answers went.

import * as api from "./api.js";
import { column, dot, h, nothing, pill, put, region } from "./dom.js";
import { score } from "./team.js";
import { figure, seconds, t, when } from "./words.js";

export async function evaluation(panel, world) {
  const reports = await api.get("api/evaluation");
  if (!reports.length) {
    put(panel, nothing(t("Nothing has been measured yet. This does it:"), " ", h("code", {}, "metier eval")));
    return;
  }
  put(panel, reports.map((one) => {
    const questions = one.questions.map((q) => h("tr", {}, h("td", {}, q.input), h("td", {}, q.text), h("td", { class: "number" }, pill(q.right ? "good" : "doubt", q.refused ? t("refused") : q.right ? t("right") : t("wrong")))));
    return h("section", { class: "card panel" },
      h("h2", { class: "row" }, dot(one.specialist, world.names), one.specialist, pill("", one.style), pill("mono", one.version)),
      h("div", { class: "people" }, Object.entries(one.metrics).map(([metric, f]) => score({ metric, ...f }))),
      h("details", { class: "why" }, h("summary", {}, t("{n} questions", { n: questions.length })),
        region("wide", t("Questions"), h("table", {},
          h("thead", {}, h("tr", {}, column(t("Question")), column(t("Answer")), column(""))), h("tbody", {}, questions)))));
  }));
}

export async function runs(panel, world) {
  const all = await api.get("api/answers");
  if (!all.length) { put(panel, nothing(t("Nobody has asked anything yet."))); return; }
  put(panel, h("p", { class: "soft" }, t("Where the time of the last answers went.")), all.map((one) => h("details", { class: "card why" },
    h("summary", {}, h("span", { class: "row" }, h("b", {}, one.task), one.specialist && [dot(one.specialist, world.names), one.specialist], pill("number", seconds(whole(one.timings))), h("span", { class: "soft small" }, when(one.at)))),
    h("div", { class: "in" }, one.steps.length ? steps(one.steps) : waterfall(one.timings), h("dl", { class: "facts" },
      h("dt", {}, t("Run")), h("dd", { class: "mono" }, one.run_id), h("dt", {}, t("Conversation")), h("dd", {}, h("a", { href: `#/thread/${encodeURIComponent(one.thread_id)}` }, one.thread_id)),
      h("dt", {}, t("Confidence")), h("dd", {}, figure(one.confidence)))))));
}

const ORDER = ["guard_in", "recall", "route", "retrieve", "model", "tool", "check", "join", "guard_out", "remember"];

const whole = (given) => Math.max(given.total ?? 0, Object.entries(given).reduce((sum, [name, value]) => (name === "total" ? sum : sum + value), 0));

/** Every step at its time; what it is a part of stands above it. */
function steps(given) {
  const end = Math.max(...given.map((step) => step.start + step.seconds)) || 1;
  return h("dl", { class: "fall" }, given.flatMap((step) => {
    const name = h("dt", { class: "soft" }, step.name && step.name !== step.kind ? `${step.kind} · ${step.name}` : step.kind);
    name.style.paddingLeft = `${step.depth}em`;
    return [name, track(step.kind, step.start / end, step.seconds / end), h("dd", { class: "number" }, seconds(step.seconds))];
  }));
}

function track(kind, from, width) {
  const piece = h("i", { class: kind });
  piece.style.left = `${100 * from}%`;
  piece.style.width = `${100 * width}%`;
  return h("dd", { class: "track", "aria-hidden": "true" }, piece);
}

/** Stages in their order, one after the other; those of parallel specialists are added up. */
function waterfall(given) {
  const place = (name) => { const at = ORDER.indexOf(name); return at < 0 ? 5.5 : at; };
  const stages = Object.entries(given).filter(([name, value]) => name !== "total" && value > 0).sort((a, b) => place(a[0]) - place(b[0]));
  const all = whole(given) || 1;
  let from = 0;
  return h("dl", { class: "fall" }, stages.flatMap(([name, value]) => {
    const piece = track(name, from / all, value / all);
    from += value;
    return [h("dt", { class: "soft" }, name), piece, h("dd", { class: "number" }, seconds(value))];
  }));
}

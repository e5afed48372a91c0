// The router: try a task, see why it goes where it goes, and how well the router does on what it learnt from.

import * as api from "./api.js";
import { bar, column, dot, failure, form, h, pill, put, region, s, soft, spin, submit } from "./dom.js";
import { percent, t } from "./words.js";

export async function router(panel, world) {
  const shown = h("div", { class: "panel", "aria-live": "polite" });
  const field = h("input", { class: "field grow", "aria-label": t("A task"), placeholder: t("Whose task is this?") });
  const asked = form("row", async () => {
    if (!field.value.trim()) return;
    try {
      put(shown, explained(await api.post("api/route", { text: field.value }), world));
    } catch (error) {
      put(shown, failure(error.message));
    }
  }, field, submit(t("Explain")));
  const report = h("div", { class: "panel" }, h("p", { class: "row soft" }, spin(), t("Measuring …")));
  put(panel, h("p", { class: "soft" }, t("Try a task: nothing is answered and nothing is kept.")), asked, shown, report);
  field.focus();
  try {
    put(report, measured(await api.get("api/router")));
  } catch (error) {
    put(report, h("p", { class: "soft" }, error.message));
  }
}

function explained({ route, nearest, words, would_change: changes }, world) {
  const chosen = new Set(route.parts.map((part) => part.specialist));
  const verdict = { one: t("one specialist"), several: t("several, each with a part"), clarify: t("asks back"), abstain: t("nobody") }[route.decision];
  return h("div", { class: "card panel" },
    h("p", { class: "row" }, [...chosen].map((name) => [dot(name, world.names), h("b", {}, name)]), pill("", verdict), h("span", { class: "soft small" }, route.reason)),
    route.parts.length > 1 && h("ul", { class: "steps" }, route.parts.map((part) => h("li", {}, `${part.specialist}: ${part.text}`))),
    h("dl", { class: "bars" }, route.choices.slice(0, 8).flatMap((choice) => {
      const kind = chosen.has(choice.name) ? "chosen" : "";
      return [h("dt", { class: `name ${kind}` }, dot(choice.name, world.names), choice.name), h("dd", {}, bar(choice.probability, kind)), h("dd", { class: "number" }, percent(choice.probability))];
    })),
    words.length > 0 && h("div", {}, h("h3", {}, t("Words that matter")), h("p", { class: "row" }, words.map((word) => h("span", { class: `word ${word.effect > 0 ? "for" : "against"}` }, word.text, h("small", { class: "number" }, `${word.effect > 0 ? "+" : "−"}${Math.abs(100 * word.effect).toFixed(0)}`))))),
    nearest.length > 0 && h("div", {}, h("h3", {}, t("Examples that are like it")), h("ul", { class: "steps" }, nearest.map((one) => h("li", {}, `${one.text} – ${one.label ?? t("nobody")} (${one.similarity.toFixed(2)})`)))),
    changes.length > 0 && h("div", {}, h("h3", {}, t("What would change it")), h("ul", { class: "steps" }, changes.map((text) => h("li", {}, text)))));
}

function measured(report) {
  const figures = [[t("right of all tasks"), report.accuracy], [t("right specialist, refused or not"), report.in_scope_accuracy], [t("foreign tasks refused"), report.oos_recall], [t("own tasks refused"), report.false_refusal]];
  return [
    h("section", { class: "card panel" }, h("h2", {}, t("How good the router is")),
      soft(t("On {n} examples, each as if it had not been learnt.", { n: report.tasks })),
      h("dl", { class: "bars" }, figures.filter(([, value]) => value !== null).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, bar(value, "chosen")), h("dd", { class: "number" }, percent(value))]))),
    h("div", { class: "plots" },
      h("section", { class: "card" }, h("h3", {}, t("Is it as sure as it should be?")), reliability(report.reliability)),
      h("section", { class: "card" }, h("h3", {}, t("Mistakes, when only the surest are taken")), risk(report.risk))),
    h("section", { class: "card panel" }, h("h3", {}, t("Whose task (rows) went to whom (columns)")), matrix(report)),
    report.suggestions.length > 0 && h("section", { class: "card panel" }, h("h3", {}, t("What would help")), h("ul", { class: "steps" }, report.suggestions.map((text) => h("li", {}, text)))),
  ];
}

const SIDE = 220;
const EDGE = 34;
const x = (value) => EDGE + SIDE * value;
const y = (value, most = 1) => 8 + SIDE * (1 - value / most);

function frame(label, most, below, ...inner) {
  const ticks = [0, 0.5, 1];
  return s("svg", { class: "plot", viewBox: `0 0 ${SIDE + EDGE + 16} ${SIDE + 46}`, role: "img", "aria-label": label },
    s("path", { class: "axis", d: ticks.map((v) => `M${x(0)} ${y(v)}H${x(1)}M${x(v)} ${y(0)}V${y(1)}`).join("") }),
    ticks.map((v) => [s("text", { x: x(v), y: y(0) + 15, "text-anchor": "middle" }, percent(v)), s("text", { x: x(0) - 5, y: y(v) + 4, "text-anchor": "end" }, percent(v * most))]),
    s("text", { x: x(0.5), y: y(0) + 31, "text-anchor": "middle" }, below), inner);
}

function reliability(bins) {
  const most = Math.max(1, ...bins.map((bin) => bin[2]));
  const label = bins.map(([sure, right]) => t("{a} sure: {b} right", { a: percent(sure), b: percent(right) })).join("; ");
  return frame(label, 1, t("how sure it was"), s("path", { class: "ideal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }),
    s("polyline", { class: "line", points: bins.map(([sure, right]) => `${x(sure)},${y(right)}`).join(" ") }),
    bins.map(([sure, right, n]) => s("circle", { cx: x(sure), cy: y(right), r: 2 + 5 * Math.sqrt(n / most) })));
}

function risk(points) {
  const most = Math.max(0.05, ...points.map((point) => point[1])) * 1.1;
  const last = points.at(-1)?.[1] ?? 0;
  return frame(t("{p} mistakes when all are taken", { p: percent(last) }), most, t("share of tasks, surest first"),
    s("polyline", { class: "line", points: points.map(([taken, wrong]) => `${x(taken)},${y(wrong, most)}`).join(" ") }));
}

function matrix({ names, matrix: rows }) {
  const cell = (n, row, right) => {
    const share = n / Math.max(1, row.reduce((a, b) => a + b, 0));
    const back = h("i", { class: right ? "right" : "" });
    back.style.opacity = String(0.05 + 0.3 * share);
    return h("td", { class: "number" }, n > 0 && [back, h("b", {}, n)]);
  };
  return region("wide", t("Whose task (rows) went to whom (columns)"), h("table", { class: "matrix" },
    h("thead", {}, h("tr", {}, h("td"), names.map((name) => column(name)))),
    h("tbody", {}, rows.map((row, i) => h("tr", {}, h("th", { scope: "row" }, names[i]), row.map((n, j) => cell(n, row, i === j)))))));
}

// The team page: who is on it and how good they are, and what people who look after a team need.

import { get } from "./api.js";
import { topBar } from "./app.js";
import { dot, failure, h, hue, pairs, put, region, row, s, soft } from "./dom.js";
import { cut, laid } from "./drawing.js";
import { evaluation, runs } from "./reports.js";
import { documents, search } from "./knowledge.js";
import { memory } from "./memory.js";
import { review } from "./review.js";
import { router } from "./routing.js";
import { figure, t, when } from "./words.js";
import { workflows } from "./workflows.js";

const tabs = () => [
  ["", t("Specialists"), overview], ["workflows", t("Workflows"), workflows], ["documents", t("Documents"), documents], ["search", t("Search"), search], ["router", t("Router"), router],
  ["runs", t("Runs"), runs], ["review", t("Feedback"), review], ["evaluation", t("Evaluation"), evaluation], ["memory", t("Memory"), memory],
];

/** Shows one of the tabs; `more` is what stands behind it in the address. */
export async function openTeam(world, name, ...more) {
  const { team, main } = world;
  const all = tabs().filter(([one]) => one !== "review" || team.scopes.includes("admin"));
  const [tab, title, show] = all.find(([one]) => one === name) ?? all[0];
  const panel = h("div", { class: "panel" });
  const links = all.map(([one, text]) => h("a", { href: one ? `#/team/${one}` : "#/team", "aria-current": one === tab ? "page" : null }, text));
  put(main, topBar(team.name), h("div", { class: "page" },
    h("header", {}, h("h1", { tabindex: "-1" }, team.name), h("p", {}, team.description)),
    h("nav", { class: "tabs", "aria-label": t("The team") }, links), panel));
  document.title = `${title} · ${team.name}`;
  main.scrollTop = 0;
  links.find((link) => link.hasAttribute("aria-current"))?.scrollIntoView({ block: "nearest", inline: "center" });
  try {
    await show(panel, world, ...more);
  } catch (error) {
    put(panel, failure(error.message));
  }
}

async function overview(panel, world) {
  const { team } = world;
  const news = h("div", { hidden: true });
  const cards = new Map(team.specialists.map((one) => [one.name, person(one, world)]));
  put(panel, news, h("div", { class: "people" }, [...cards.values()]),
    h("section", { class: "card" }, h("h2", {}, t("The way of a question")), soft(t("Dashed arrows are hand-offs.")), region("graph", t("The way of a question"), graph(team, world.names))));
  const [{ changed }, measured] = await Promise.all([get("api/build"), get("api/evaluation")]);
  if (changed?.length) {
    news.hidden = false;
    put(news, h("p", { class: "card" }, t("Changed since the last build: {what}.", { what: changed.join(", ") }), " ", h("a", { href: "#/team/documents" }, t("Build again"))));
  }
  if (team.scopes.includes("admin")) await operation(news.after.bind(news));
  for (const one of measured) cards.get(one.specialist)?.querySelector("p").after(score({ metric: one.gate, ...one.metrics[one.gate] }));
}

/** Trials, and what drifted; nothing while there is neither. */
async function operation(show) {
  const { trials, drift } = await get("api/operation");
  const watched = { questions: t("Questions"), fields: t("Fields"), confidence: t("Confidence"), abstentions: t("Abstentions") };
  const rows = [
    ...trials.map(({ trial, evidence }) => [t("Trial of {name}", { name: trial.specialist }), trial.ending === "running" ? t("{mine} against {theirs}, in {n} conversations", { mine: worth(evidence.challenger), theirs: worth(evidence.champion), n: evidence.conversations[0] + evidence.conversations[1] }) : `${trial.ending}: ${trial.why}`]),
    ...drift.filter((one) => one.drifted && watched[one.what]).map((one) => [watched[one.what], `${one.text} (${when(one.since)})`, one.examples]),
  ];
  if (rows.length) {
    show(h("section", { class: "card" }, h("h2", {}, t("How it goes")), pairs("facts", rows.map(([name, text, examples = []]) => [name, text, examples.map((one) => soft(one))]))));
  }
}

const worth = (value) => (value === null ? "–" : figure(value));

function person(one, world) {
  const facts = [
    [t("Version"), h("span", { class: "mono" }, one.version)], [t("Style"), one.style],
    one.documents > 0 && [t("Documents"), t("{n}, in {p} passages", { n: one.documents, p: one.passages })],
    one.tools.length > 0 && [t("Tools"), one.tools.join(", ")], one.handoffs.length > 0 && [t("Hands over to"), one.handoffs.join(", ")],
    [t("Silent below"), `${Math.round(100 * one.abstain_below)} %`],
  ].filter(Boolean);
  return h("article", { class: `card person hue-${hue(one.name, world.names)}` },
    h("h2", {}, dot(one.name, world.names), one.name), h("p", {}, one.description),
    pairs("facts", facts));
}

/** A figure with its interval on a line from 0 to 1. */
export function score({ metric, value, low, high, n }) {
  const spread = h("i");
  spread.style.left = `${100 * low}%`;
  spread.style.width = `${100 * Math.max(0.004, high - low)}%`;
  const point = h("b");
  point.style.left = `calc(${100 * value}% - .11rem)`;
  return h("div", { class: "score" },
    row("", h("span", { class: "soft" }, t("{metric} on {n} questions", { metric, n })), h("b", { class: "number", title: `${figure(low)}–${figure(high)}` }, figure(value))),
    h("div", { class: "range", "aria-hidden": "true" }, spread, point));
}

/** Stations and specialists from left to right. */
function graph({ graph: { nodes, edges } }, names) {
  const [wide, high] = [112, 34];
  const { cells, lines, width, height } = laid({ nodes, edges: edges.filter(({ kind }) => kind !== "handoff") }, { wide, high, gap: 46 });
  const hands = edges.filter(({ kind }) => kind === "handoff").map(({ from, to }) => {
    const [a, b] = [cells.get(from), cells.get(to)];
    const [x, y1, y2] = [a.x + wide, a.y + high * 0.7, b.y + high * 0.3];
    const out = x + 22 + Math.abs(a.y - b.y) / 9;
    return [s("path", { class: "handoff", d: `M${x} ${y1}C${out} ${y1} ${out} ${y2} ${x + 6} ${y2}` }), s("path", { class: "tip handoff", d: `M${x + 1} ${y2}l8 -4v8z` })];
  });
  const boxes = nodes.map(({ name, kind }) => {
    const { x, y } = cells.get(name);
    const who = kind === "specialist";
    return s("g", { class: who ? `hue-${hue(name, names)}` : "" },
      s("rect", { x, y, width: wide, height: high, rx: who ? 17 : 8, class: who ? "who" : "" }), s("text", { x: x + wide / 2, y: y + high / 2 }, cut(name, 15)));
  });
  return s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": edges.map(({ from, to }) => `${from} → ${to}`).join(", ") }, lines, hands, boxes);
}

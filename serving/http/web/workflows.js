// Workflows: their plans drawn, started with their parameters, followed step by step, decided about, replayed.

import * as api from "./api.js";
import { source } from "./answer.js";
import { Approval } from "./approval.js";
import { alarm, button, column, form, h, icon, named, nothing, pairs, pill, put, region, row, s, say, soft, spin, submit } from "./dom.js";
import { cut, laid } from "./drawing.js";
import { download } from "./threads.js";
import { exact, plain, seconds, t, when } from "./words.js";

let left = new AbortController();
const MARKS = { running: "…", waiting: "?", done: "✓", skipped: "–", failed: "✗" };
const STANDS = { queued: () => t("waits its turn"), running: () => t("at work"), waiting: () => t("waits for you"), done: () => t("done"), failed: () => t("failed"), skipped: () => t("left out"), cancelled: () => t("Stopped.") };
const KIND = { done: "good", failed: "doubt", waiting: "doubt" };
const words = (state) => STANDS[state]?.() ?? t("not begun");
const stands = (state) => pill(KIND[state] ?? "", words(state));
const link = (...names) => ["#/team/workflows", ...names.map((name) => api.at(name))].join("/");
const back = (href, text) => h("p", { class: "small" }, h("a", { href }, `‹ ${text}`));
const wrongs = (lines) => h("div", { class: "error", role: "alert" }, icon("help"), h("ul", {}, lines.map((text) => h("li", {}, text))));

export async function workflows(panel, world, name, id) {
  left.abort();
  left = new AbortController();
  addEventListener("hashchange", () => left.abort(), { once: true });
  const all = await api.get("v1/workflows");
  const one = all.find((each) => each.name === name);
  if (id) await new Followed(panel, world, name, id, one).show();
  else if (one) begin(panel, world, one);
  else if (!all.length) put(panel, nothing(t("This team has no workflows. A file in its folder `workflows` makes one.")));
  else {
    put(panel, h("p", { class: "soft" }, t("Tasks with several steps. Each is written down once, checked, and done in the same way every time.")),
      h("div", { class: "people" }, all.map((each) => h("article", { class: "card person" },
        h("h2", {}, h("a", { href: link(each.name) }, each.name)), h("p", {}, each.description),
        row("", Object.keys(each.parameters).map((given) => pill("mono", given)), each.faults.length > 0 && pill("doubt", t("cannot run")), each.runs[0] && stands(each.runs[0].status))))));
  }
}

// One workflow: a form, its plan, and earlier runs.

function begin(panel, world, one) {
  const wrong = alarm();
  const { properties, required } = one.parameters_schema;
  const fields = Object.entries(properties).map(([name, wanted]) => [name, wanted, entry(wanted, required.includes(name))]);
  const start = submit(t("Start"));
  const filled = form("card fix", async () => {
    start.disabled = true;
    const given = fields.map(([name, , field]) => [name, field.type === "checkbox" ? field.checked : field.value.trim()]);
    try {
      location.hash = link(one.name, (await api.post("v1/runs", { workflow: one.name, parameters: Object.fromEntries(given.filter(([, value]) => value !== "")) })).id);
    } catch (error) {
      wrong.textContent = error.message;
      start.disabled = false;
    }
  }, fields.map(([name, { description }, field]) => named(h("b", {}, name), description && ` – ${description}`, field)), wrong, row("end", start));
  put(panel, back(link(), t("Workflows")), h("h2", {}, one.name), h("p", { class: "soft" }, one.description),
    one.faults.length > 0 ? wrongs(one.faults) : world.team.scopes.includes("ask") && filled,
    new Plan(one.graph, panel.clientWidth).element,
    one.runs.length > 0 && h("section", { class: "card" }, h("h3", {}, t("Earlier runs")), h("ul", { class: "earlier" }, one.runs.map((run) => h("li", {},
      h("a", { href: link(one.name, run.id) }, when(1000 * run.at)), stands(run.status), h("span", { class: "grow soft" }, run.text), h("span", { class: "soft number" }, seconds(run.seconds)))))));
}

function entry({ type, enum: known, default: usual, minimum: min, maximum: max, pattern }, required) {
  const value = simply(usual);
  if (known) return h("select", { class: "field", required }, value === "" && h("option", { value }, "–"), known.map((one) => h("option", { value: simply(one), selected: simply(one) === value }, simply(one))));
  if (type === "boolean") return h("input", { type: "checkbox", checked: usual === true });
  if (type === "object") return h("textarea", { class: "field mono", rows: 2, required, value, placeholder: "{ }" });
  const number = type === "number" || type === "integer";
  return h("input", { class: "field", required, value, type: number ? "number" : "text", min, max, step: type === "number" ? "any" : null, pattern, title: pattern, placeholder: type === "array" ? "a, b" : null });
}

// A run: how its steps stand, what they gave, and what a person has to say.

class Followed {
  constructor(panel, world, name, id, one) {
    Object.assign(this, { panel, name, id, may: world.team.scopes.includes("ask"), again: one && one.faults.length === 0, signal: left.signal, made: new Map(), live: new Map(), turns: new Map(), asks: "" });
    [this.top, this.question, this.outcome, this.steps] = ["row", "", "panel", "done-steps"].map((kind) => h("div", { class: kind }));
    this.place = `v1/workflows/${api.at(name)}/runs/${api.at(id)}`;
    this.run = `v1/runs/${api.at(id)}`;
  }

  get moving() { return this.view.status === "queued" || this.view.status === "running"; }

  async show() {
    this.view = await api.get(this.place);
    this.plan = new Plan(this.view.graph, this.panel.clientWidth, (step) => this.open(step));
    put(this.panel, back(link(this.name), this.name), h("h2", {}, this.view.description || this.name), this.top, this.question, this.outcome, this.plan.element, this.steps);
    this.paint();
    await this.follow();
  }

  /** Until it stands still. A run of a command, whose events nobody tells, is looked at now and then. */
  async follow() {
    while (this.moving && !this.signal.aborted) {
      await api.events("GET", `${this.run}/events`, undefined, (name, { data }) => name === "step" && this.take(data), this.signal).catch(() => pause(1500));
      await pause(150);
      await this.look();
    }
  }

  take({ step, state }) {
    const [name, inner] = step.split(".");
    if (!inner) this.live.set(name, state === "begun" ? "running" : state);
    else if (state === "done") this.turns.set(name, (this.turns.get(name) ?? 0) + 1);
    this.plan.paint(this.states(), this.turns);
    // What steps gave is asked for once for all that end at the same time.
    if (state !== "begun") this.timer ??= setTimeout(() => { this.timer = null; this.look(); }, 250);
  }

  async look() {
    try {
      if (this.signal.aborted) return;
      this.view = await api.get(this.place);
      if (!this.signal.aborted) this.paint();
    } catch { /* it is looked at again */ }
  }

  states() {
    return this.view.graph.nodes.map(({ name, state }) => [name, state || (this.moving && this.live.get(name)) || ""]);
  }

  paint() {
    const { run, status, at } = this.view;
    if (this.told && this.told !== status) say(`${this.name}: ${words(status)}`);
    this.told = status;
    const values = Object.entries(run.parameters).filter(([name, value]) => name !== "today" && value !== "");
    put(this.top, this.moving && spin(), stands(status), h("span", { class: "soft small number" }, when(1000 * at), run.timings.total > 0 && ` · ${seconds(run.timings.total)}`),
      values.map(([name, value]) => pill("", `${name}: ${simply(value)}`)), h("span", { class: "grow" }),
      this.moving && this.may && button("small", () => api.post(`${this.run}/cancel`).then(() => this.look()), icon("stop"), t("Stop")));
    this.plan.paint(this.states(), this.turns);
    this.ask(run);
    const trouble = run.trouble.map(({ step, reason }) => `${step}: ${reason}`);
    put(this.outcome, run.result && h("section", { class: "card result" }, h("h3", {}, t("Result")), shown(run.result, this)),
      status === "failed" ? wrongs(trouble) : trouble.length > 0 && h("details", { class: "why" }, h("summary", {}, t("Parts that are missing: {n}", { n: trouble.length })), h("ul", { class: "steps in" }, trouble.map((text) => h("li", {}, text)))));
    put(this.steps, this.view.graph.nodes.filter(({ name }) => run.results[name]).map((node) => this.step(node, run)));
  }

  /** What waits; a form in which somebody writes stays as it is. */
  ask({ waiting, within }) {
    const asks = waiting && !this.moving ? JSON.stringify(waiting) : "";
    if (asks === this.asks) return;
    this.asks = asks;
    const there = within && h("p", { class: "card" }, t("A decision is needed."), " ", h("a", { href: `#/thread/${encodeURIComponent(within)}` }, t("Conversation")));
    put(this.question, asks && (there || (this.may && new Approval(waiting, (decisions) => this.decide(decisions)).element)));
  }

  async decide(decisions) {
    try {
      await api.post(`${this.run}/resume`, { decisions });
      this.live.clear();
      this.turns.clear();
      await this.look();
      await this.follow();
    } catch (error) {
      this.asks = "";
      await this.look();
      this.question.append(alarm(error.message));
    }
  }

  step({ name, kind, state }, run) {
    const result = run.results[name];
    const before = this.made.get(name);
    const about = JSON.stringify([result, run.timings[name], this.moving]);
    if (before?.about === about) return before.details;
    const body = h("div", { class: "in" });
    const fill = () => put(body, shown(result, this), !this.moving && this.may && this.again && row("end", button("small", () => this.replay(name, body), icon("retry"), t("Replay from here"))));
    const details = h("details", { class: "card why", "data-step": name, open: before?.details.open, ontoggle: () => details.open && !body.firstChild && fill() }, h("summary", {}, h("span", { class: "row" }, h("span", { class: `mark ${state}`, "aria-hidden": "true" }, MARKS[state]), h("b", {}, name), h("span", { class: "unseen" }, words(state)), pill("", kind),
      run.timings[name] > 0 && h("span", { class: "soft small number" }, seconds(run.timings[name])), h("span", { class: "grow soft brief" }, brief(result)))), body);
    if (details.open) fill();
    this.made.set(name, { about, details });
    return details;
  }

  open(name) {
    const details = this.steps.querySelector(`[data-step="${name}"]`);
    if (!details) return;
    details.open = true;
    details.querySelector("summary").focus();
  }

  async replay(step, body) {
    try {
      location.hash = link(this.name, (await api.post("v1/runs", { workflow: this.name, replay: { run: this.id, from_step: step } })).id);
    } catch (error) {
      body.append(alarm(error.message));
    }
  }
}

const pause = (time) => new Promise((done) => { setTimeout(done, time); });

// What steps give.

const simply = (value) => (value === null || value === undefined ? "" : Array.isArray(value) && value.every((one) => typeof one !== "object") ? value.join(", ") : plain(value));
const base = (path) => path.split("/").at(-1);

function brief(one) {
  const said = { text: () => one.text, number: () => `${exact(one.value)} ${one.unit}`, truth: () => (one.value ? t("yes") : t("no")), table: () => t("{n} rows", { n: one.rows.length }), data: () => simply(one.value), file: () => base(one.path), items: () => t("{n} times", { n: one.items.length }) }[one.kind];
  return said ? said() : one.reason;
}

const LARGE = {
  table: ({ columns, rows }) => region("wide", t("Table"), h("table", {}, h("thead", {}, h("tr", {}, columns.map((name) => column(name)))), h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((name) => h("td", { class: typeof row[name] === "number" ? "number" : "" }, typeof row[name] === "number" ? exact(row[name]) : simply(row[name])))))))),
  data: ({ value }) => (typeof value === "string" ? h("p", { class: "said" }, value) : h("pre", {}, JSON.stringify(value, null, 2))),
  items: ({ items, more }, run) => h("ol", { class: "turns" }, items.map((item) => h("li", {}, pairs("facts", Object.entries(item).map(([name, part]) => [name, shown(part, run)])))), more > 0 && h("li", {}, t("{n} more were left out", { n: more }))),
  file({ path, media }, run) {
    const get = () => api.blob(`${run.place}/files${api.query({ path })}`);
    const [wrong, picture] = [alarm(), h("img", { class: "chart", alt: base(path), hidden: true })];
    if (/^image\/(png|jpeg)/.test(media)) get().then((data) => { picture.src = URL.createObjectURL(data); picture.hidden = false; }, () => {});
    return h("div", {}, button("", () => get().then((data) => download(data, base(path)), (error) => put(wrong, error.message)), icon("save"), base(path)), wrong, picture);
  },
};

function shown(one, run) {
  return h("div", { class: "gives" }, LARGE[one.kind]?.(one, run) ?? h("p", { class: `said ${one.kind}` }, brief(one)),
    one.citations?.length > 0 && h("ol", { class: "sources", "aria-label": t("Sources") }, one.citations.map((citation, place) => h("li", {}, source(citation, place + 1)))));
}

// A plan as a picture.

const SIZE = { wide: 140, high: 44, gap: 38 };

class Plan {
  /** @param pick is called with the step that somebody chose; left out: steps are only looked at, however a run left them. */
  constructor(graph, room, pick) {
    this.steps = new Map();
    const across = laid(graph, SIZE);
    const { cells, lines, width, height } = across.width <= room - 50 ? across : laid(graph, { ...SIZE, gap: 30, down: true, room: room - 50 });
    const boxes = graph.nodes.map((node) => this.box(node, cells.get(node.name), pick));
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: pick ? "group" : "img", "aria-label": graph.nodes.map(({ name }) => name).join(" → ") }, lines, boxes);
    svg.style.width = `${width}px`;
    svg.style.minWidth = `${0.72 * width}px`;
    this.element = h("section", { class: "card" }, h("h3", {}, t("The plan")), !pick && soft(t("Steps side by side are done at the same time.")), region("graph plan", t("The plan"), svg));
  }

  box({ name, about, kind, steps }, { x, y }, pick) {
    const below = steps.length ? `${t("each")}: ${steps.join(", ")}` : about || kind;
    const mark = s("text", { class: "mark", x: x + SIZE.wide - 15, y: y + 15 });
    const second = s("text", { class: "about", x: x + 12, y: y + 31 });
    const chosen = pick && { role: "button", tabindex: "0", onclick: () => pick(name), onkeydown: (event) => { if (event.key === "Enter") { event.preventDefault(); pick(name); } } };
    const group = s("g", chosen, s("title", {}, `${name}: ${below}`), s("rect", { x, y, width: SIZE.wide, height: SIZE.high, rx: kind === "person" ? 20 : 9 }), s("text", { x: x + 12, y: y + 16 }, cut(name, 15)), second, mark);
    const stand = (state, turns) => {
      group.setAttribute("class", `step ${state}`);
      if (pick) group.setAttribute("aria-label", `${name}: ${words(state)}`);
      put(mark, MARKS[state] ?? "");
      put(second, cut(turns ? `${turns} ✓ ${below}` : below, 22));
    };
    stand("");
    this.steps.set(name, stand);
    return group;
  }

  paint(states, turns) {
    for (const [name, state] of states) this.steps.get(name)(state, state === "running" && turns.get(name));
  }
}

// One turn: the question, what happens, the answer with who, why and where it stands, and what one may say of it.

import * as api from "./api.js";
import { Approval } from "./approval.js";
import { openPaper } from "./document.js";
import { bar, button, dot, form, h, icon, iconButton, marked, named, pairs, pill, put, row, say, soft, spin, submit } from "./dom.js";
import { percent, plain, seconds, t } from "./words.js";

/** Styles whose tokens are the answer as a reader sees it; the others write calls, queries or objects. */
const SPOKEN = new Set(["quote", "free", "label"]);

export class Turn {
  constructor(chat, task) {
    this.chat = chat;
    this.task = task;
    this.run = null;
    this.steps = [];
    this.reply = h("div", { class: "reply" });
    this.element = h("article", { class: "turn" }, h("h2", { class: "asked", "aria-label": t("You: {task}", { task }) }, task), this.reply);
  }

  get names() { return this.chat.world.names; }

  /** Whether the view should go along with what comes: only when the reader is at the end. */
  get following() {
    const { main } = this.chat.world;
    return main.scrollHeight - main.scrollTop - main.clientHeight < 160;
  }

  begin() {
    this.steps = [];
    this.drafts = new Map();
    this.who = h("div", { class: "by" }, spin(), t("Who knows this?"));
    this.happening = h("ol", { class: "steps" });
    this.draft = h("div", {});
    this.reply.setAttribute("aria-busy", "true");
    put(this.reply, this.who, this.happening, this.draft);
  }

  /** An event of the run. */
  take({ name, specialist, data }) {
    if (name === "answer") return this.finish(data);
    if (name === "waiting") return this.wait(data, this.run);
    if (name === "token") return this.write(specialist, data.text);
    if (name === "route") this.showRoute(data);
    if (name === "check") return undefined;
    const text = step(name, specialist, data);
    if (text) {
      this.steps.push(text);
      this.happening.querySelector(".now")?.classList.remove("now");
      this.happening.append(h("li", { class: "now" }, text));
    }
    return undefined;
  }

  showRoute(route) {
    const chosen = [...new Set((route.parts ?? []).map((part) => part.specialist))];
    if (chosen.length) put(this.who, spin(), chosen.map((name) => [dot(name, this.names), h("b", {}, name)]), t("is reading …"));
  }

  write(specialist, text) {
    const style = this.chat.world.team.specialists.find((one) => one.name === specialist)?.style;
    const before = this.drafts.get(specialist) ?? "";
    this.drafts.set(specialist, before + text);
    put(this.draft, [...this.drafts].map(([, said]) => h("p", { class: `said draft${SPOKEN.has(style) ? "" : " machine"}` }, said)));
  }

  /** It ended without an answer. */
  fail(text, quiet = false) {
    this.reply.removeAttribute("aria-busy");
    const again = button("", () => this.retry(), icon("retry"), t("Ask again"));
    put(this.reply, quiet
      ? h("div", { class: "row soft" }, text, again)
      : h("div", { class: "error", role: "alert" }, icon("help"), h("div", { class: "grow" }, h("p", {}, text)), again));
    say(text);
  }

  retry() {
    if (this.chat.running) return;
    this.element.remove();
    this.chat.ask(this.task);
  }

  /** A person must decide. */
  wait(answer, run) {
    this.reply.removeAttribute("aria-busy");
    const approval = new Approval(answer.data, (decisions) => this.chat.decide(this, run, decisions));
    put(this.reply, approval.element);
    this.chat.hold(true);
    say(t("A decision is needed."));
    approval.element.querySelector("input")?.focus();
  }

  /** The answer. */
  finish(answer, { rated } = {}) {
    this.answer = answer;
    this.reply.removeAttribute("aria-busy");
    const sure = answer.kind === "answer";
    put(this.reply,
      this.by(answer),
      sure || !answer.evidence?.length ? h("div", { class: "said" }, answer.text) : null,
      answer.tool_calls?.map((call) => toolCall(call)),
      this.sources(answer),
      this.doubt(answer),
      answer.kind === "clarify" && this.clarify(answer),
      this.why(answer),
      this.acts(answer, rated));
    say(`${answer.specialist ?? ""} ${answer.text}`);
  }

  by(answer) {
    const names = (answer.handoffs?.length ? answer.handoffs : (answer.specialist ?? "").split(", ")).filter(Boolean);
    const who = names.length
      ? names.map((name, place) => [place > 0 && h("span", {}, answer.handoffs?.length ? "→" : "+"), dot(name, this.names), h("b", {}, name)])
      : h("b", {}, answer.reason === "from memory" ? t("From memory") : this.chat.world.team.name);
    const sure = answer.kind === "answer" && answer.confidence > 0 && pill(answer.confidence >= 0.6 ? "good" : "", t("{p} sure", { p: percent(answer.confidence) }));
    const doubt = { abstain: t("nobody is sure"), clarify: t("asks back") }[answer.kind];
    return h("div", { class: "by" }, who, sure, doubt && pill("doubt", doubt),
      answer.timings?.total && h("span", { class: "number" }, seconds(answer.timings.total)));
  }

  sources(answer) {
    if (!answer.citations?.length) return null;
    const cards = answer.citations.map((one, place) => h("li", {}, source({ ...one, thread: this.chat.id }, place + 1)));
    return h("ol", { class: "sources", "aria-label": t("Sources") }, cards);
  }

  doubt(answer) {
    if (!answer.evidence?.length) return null;
    return h("section", { class: "nearest", "aria-label": t("Passages that come nearest") },
      h("p", {}, h("b", {}, t("I do not know.")), " ", t("These passages come nearest. The marked sentence is likely, but nobody has confirmed it.")),
      h("ol", { class: "sources" }, answer.evidence.map((one, place) => h("li", {}, source({ ...one, thread: this.chat.id }, place + 1, "maybe")))));
  }

  clarify(answer) {
    return row("", answer.route?.candidates.map((name) => h("button", {
      type: "button", class: "button", onclick: () => { this.chat.who.value = name; this.chat.ask(this.task); this.chat.who.value = ""; },
    }, dot(name, this.names), name)));
  }

  why(answer) {
    const { route } = answer;
    if (!route && !this.steps.length && !answer.reason) return null;
    const chosen = new Set((route?.parts ?? []).map((part) => part.specialist));
    const rows = (route?.choices ?? []).slice(0, 6).flatMap((choice) => {
      const kind = chosen.has(choice.name) ? "chosen" : "";
      return [h("dt", { class: `name ${kind}` }, dot(choice.name, this.names), choice.name),
        h("dd", {}, bar(choice.probability, kind)), h("dd", { class: `number ${kind}` }, percent(choice.probability))];
    });
    const facts = [
      answer.version && [t("Version"), h("span", { class: "mono" }, answer.version)],
      route?.reason && [t("Routed by"), route.reason],
      answer.reason && answer.reason !== route?.reason && [t("Reason"), answer.reason],
      answer.usage?.calls > 0 && [t("Model"), t("called {calls}×, {read} tokens read, {written} written", { calls: answer.usage.calls, read: answer.usage.input_tokens, written: answer.usage.output_tokens })],
      ...Object.entries(answer.guards ?? {}).map(([guard, did]) => [t("Guard"), `${guard}: ${did}`]),
    ].filter(Boolean);
    return h("details", { class: "why" }, h("summary", {}, t("Why this answer")),
      h("div", { class: "in" },
        rows.length > 0 && h("dl", { class: "bars", "aria-label": t("Who was considered") }, rows),
        this.steps.length > 0 && h("ol", { class: "steps" }, this.steps.map((text) => h("li", {}, text))),
        facts.length > 0 && pairs("facts", facts),
        timings(answer.timings)));
  }

  // What one may say of it.

  acts(answer, rated) {
    const told = h("span", { class: "done", role: "status" });
    const copy = iconButton("copy", t("Copy"), async () => {
      await navigator.clipboard.writeText(asText(answer)).catch(() => {});
      told.textContent = t("Copied.");
    });
    const buttons = [copy, iconButton("retry", t("Ask again"), () => this.chat.ask(this.task))];
    if (answer.specialist && answer.run_id) {
      const good = iconButton("up", t("Good answer"), () => this.rate("good", null, told, good), { "aria-pressed": String(rated === "good") });
      const bad = iconButton("down", t("Bad answer"), () => this.rate("bad", null, told, bad), { "aria-pressed": String(rated === "bad") });
      const fix = iconButton("pen", t("Correct this answer"), () => this.correct(told));
      buttons.unshift(good, bad, fix);
    }
    this.bar = h("div", { class: "acts", role: "group", "aria-label": t("About this answer") }, buttons, told);
    return this.bar;
  }

  async rate(verdict, correction, told, button) {
    const { answer } = this;
    const asked = (answer.specialist ?? "").split(", ")[0];
    try {
      await api.post("v1/feedback", { verdict, correction, run_id: answer.run_id, thread_id: answer.thread_id, specialist: asked });
      for (const one of this.bar.querySelectorAll("[aria-pressed]")) one.setAttribute("aria-pressed", String(one === button));
      told.textContent = correction ? t("Thank you. It waits for review, and then becomes an example.") : t("Thank you.");
    } catch (error) {
      told.textContent = error.message;
    }
  }

  correct(told) {
    if (this.reply.querySelector(".fix")) return;
    const field = h("textarea", { class: "field", rows: 2, value: this.answer.kind === "answer" ? this.answer.text : "" });
    const close = () => { written.remove(); this.bar.querySelector("button").focus(); };
    const written = form("card fix", async () => {
      if (!field.value.trim()) return;
      await this.rate("correction", field.value.trim(), told, null);
      close();
    },
      named(t("What is the right answer?"), field),
      soft(t("It becomes an example that {who} learns from, once somebody has looked at it.", { who: this.answer.specialist.split(", ")[0] })),
      row("end", button("", close, t("Cancel")), submit(t("Send correction"))));
    this.reply.append(written);
    field.focus();
  }
}

/** A card that opens the document where the quote stands. */
export function source(citation, label, kind = "") {
  const memory = citation.source === "memory";
  const heading = citation.heading?.length ? citation.heading.join(" › ") : "";
  const page = citation.page ? t("page {n}", { n: citation.page }) : "";
  const place = [page, heading].filter(Boolean).join(" · ");
  const name = memory ? t("What you said") : citation.source.split("/").at(-1);
  const open = (event) => (memory ? (location.hash = "#/team/memory") : openPaper({ ...citation, kind }, event.currentTarget));
  return h("button", { type: "button", class: "source", onclick: open, title: memory ? "" : t("Open the document here") },
    h("span", { class: "nr", "aria-hidden": "true" }, label),
    h("q", {}, marked(citation.context || citation.quote, citation.quote, kind)),
    h("span", { class: "place" }, h("b", {}, name), place && ` · ${place}`));
}

function toolCall(call) {
  const state = call.error ? pill("doubt", t("failed")) : pill("good", t("done"));
  return h("details", { class: "tool" },
    h("summary", {}, icon("build"), h("span", { class: "mono" }, `${call.name}(${short(call.arguments)})`), state),
    h("div", { class: "in" },
      pairs("args", Object.entries(call.arguments ?? {}).map(([name, value]) => [name, plain(value)])),
      h("pre", { class: call.error ? "bad" : "" }, call.error ?? call.result)));
}

const short = (given) => Object.values(given ?? {}).map(plain).join(", ").slice(0, 80);

function step(name, specialist, data) {
  if (name === "recall") return t("Remembered: {what}", { what: (data.facts ?? []).join(" · ") || data.query });
  if (name === "route") return data.parts?.length ? t("Goes to {who}", { who: [...new Set(data.parts.map((part) => part.specialist))].join(" + ") }) : t("Nobody was chosen");
  if (name === "retrieve") return t("{who} reads {n} passages: {where}", { who: specialist, n: data.passages.length, where: [...new Set(data.passages.map((p) => p.source.split("/").at(-1)))].join(", ") || "–" });
  if (name === "tool") return `${specialist}: ${data.name}(${short(data.arguments)})${data.error ? ` – ${data.error}` : ""}`;
  if (name === "handoff") return t("{who} passes it on to {to}: {why}", { who: specialist, to: data.to, why: data.reason });
  if (name === "guard") return t("Guard {name}: {did}", { name: data.guard, did: data.did });
  return "";
}

/** Seconds by stage, as bars. */
export function timings(given) {
  const stages = Object.entries(given ?? {}).filter(([name, value]) => name !== "total" && value >= 0.0005);
  if (!stages.length) return null;
  const whole = given.total || Math.max(...stages.map(([, value]) => value));
  stages.sort((a, b) => b[1] - a[1]);
  return h("dl", { class: "bars", "aria-label": t("Time") }, stages.slice(0, 8).flatMap(([name, value]) => [
    h("dt", { class: "soft" }, name), h("dd", {}, bar(value / whole, name === "model" ? "chosen" : "")), h("dd", { class: "number" }, seconds(value))]));
}

function asText(answer) {
  const places = (answer.citations ?? []).map((one) => `“${one.quote}” (${[one.source, one.page && t("page {n}", { n: one.page }), ...(one.heading ?? [])].filter(Boolean).join(" › ")})`);
  return [answer.text, ...places].join("\n");
}

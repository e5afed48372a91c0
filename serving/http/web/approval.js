// What waits for a person: calls to approve, edit, reject or respond to, and questions of workflows.

import { alarm, form, h, icon, named, pairs, put, row, soft, submit } from "./dom.js";
import { plain, t } from "./words.js";

export class Approval {
  /** @param request an ApprovalRequest; @param decided is called with one decision for each call, in order. */
  constructor(request, decided) {
    const one = (action, place) => (action.name === "ask_person" ? new Asked(action, place) : new Call(action, request.review_configs[place]?.allowed_decisions ?? ["approve", "reject"], place));
    this.calls = request.action_requests.map(one);
    this.wrong = alarm();
    const send = submit(t("Continue"));
    this.element = form("approval", () => {
      this.wrong.textContent = "";
      try {
        const decisions = this.calls.map((call) => call.decision());
        send.disabled = true;
        decided(decisions);
      } catch (error) {
        this.wrong.textContent = error.message;
      }
    },
      h("h3", {}, icon("hand"), this.calls.some((call) => call instanceof Call) ? t("May this be done?") : t("A decision is needed")),
      this.calls.map((call) => call.element), this.wrong, row("end", send));
    this.element.setAttribute("aria-label", t("A decision is needed"));
  }
}

const field = (value) => (value.length < 80 && !value.includes("\n") ? h("input", { class: "field mono", value }) : h("textarea", { class: "field mono", rows: 3, value }));

/** Options side by side, of which one is chosen. */
const options = (label, place, known, chosen, onchange) => h("div", { class: "choose", role: "radiogroup", "aria-label": label },
  known.map(([value, words]) => h("label", {}, h("input", { type: "radio", name: `decision-${place}`, value, checked: value === chosen, onchange: () => onchange(value) }), words)));

/** A step of a workflow asks: one of its choices, yes or no, a number, or words. */
class Asked {
  constructor({ args: { step, question, choices, type, sources }, description }, place) {
    const known = choices?.map((one) => [one, one]) ?? (type === "boolean" ? [["yes", t("Yes")], ["no", t("No")]] : null);
    this.field = h("input", { class: "field", "aria-label": question, type: ["number", "integer"].includes(type) ? "number" : "text", step: "any" });
    this.element = h("div", { class: "call" }, h("p", { class: "question" }, question), description !== `step '${step}' asks: ${question}` && soft(description),
      sources?.map((source) => soft(source)),
      known ? options(question, place, known, null, (value) => { this.said = value; }) : this.field);
  }

  decision() {
    const message = this.said ?? this.field.value.trim();
    if (!message) throw new Error(t("Say what the result is."));
    return { type: "respond", message };
  }
}

class Call {
  constructor(action, allowed, place) {
    this.action = action;
    this.kind = allowed.includes("approve") ? "approve" : allowed[0];
    this.fields = new Map();
    const words = { approve: t("Approve"), edit: t("Edit"), reject: t("Reject"), respond: t("Respond") };
    if (action.name === "step_failed") Object.assign(words, { approve: t("Try again"), reject: t("Leave it out") });
    this.more = h("div", { class: "more" });
    const known = Object.entries(words).filter(([kind]) => allowed.includes(kind));
    this.choose = options(t("Decision about {name}", { name: action.name }), place, known, this.kind, (kind) => { this.turn(kind); this.show(); });
    this.element = h("div", { class: "call" },
      h("p", { class: "name" }, action.name), soft(action.description), this.choose, this.more);
    this.turn(this.kind);
  }

  turn(kind) {
    this.kind = kind;
    const given = Object.entries(this.action.args);
    if (kind === "edit") {
      this.fields = new Map(given.map(([name, value]) => [name, field(plain(value))]));
      put(this.more, h("div", { class: "in" }, [...this.fields].map(([name, entry]) => named(name, entry))));
    } else if (kind === "respond" || kind === "reject") {
      this.message = h("textarea", { class: "field", rows: 2 });
      put(this.more, named(kind === "respond" ? t("Give this as its result, without doing it") : t("Why not? (may stay empty)"), this.message));
    } else {
      put(this.more, pairs("args", given.map(([name, value]) => [name, plain(value)])));
    }
  }

  show() {
    this.element.closest("form").lastElementChild.scrollIntoView({ block: "nearest" });
  }

  decision() {
    const { kind } = this;
    if (kind === "approve") return { type: kind };
    if (kind === "reject") return this.message.value.trim() ? { type: kind, message: this.message.value.trim() } : { type: kind };
    if (kind === "respond") {
      if (!this.message.value.trim()) throw new Error(t("Say what the result is."));
      return { type: kind, message: this.message.value.trim() };
    }
    const args = Object.fromEntries([...this.fields].map(([name, entry]) => [name, this.read(name, entry.value)]));
    return { type: kind, edited_action: { name: this.action.name, args } };
  }

  read(name, text) {
    if (typeof this.action.args[name] === "string") return text;
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(t("{name} is not written as JSON: {text}", { name, text }));
    }
  }
}

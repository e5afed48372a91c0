// Calls that wait for a person: approve, edit, reject, respond.

import { h, icon, put } from "./dom.js";
import { t } from "./words.js";

export class Approval {
  /** @param request an ApprovalRequest; @param decided is called with one decision for each call, in order. */
  constructor(request, decided) {
    this.calls = request.action_requests.map((action, place) => new Call(action, request.review_configs[place]?.allowed_decisions ?? ["approve", "reject"], place));
    this.wrong = h("p", { class: "bad small", role: "alert" });
    const send = h("button", { class: "button main" }, t("Continue"));
    this.element = h("form", { class: "approval", "aria-label": t("A decision is needed"), onsubmit: (event) => {
      event.preventDefault();
      this.wrong.textContent = "";
      try {
        const decisions = this.calls.map((call) => call.decision());
        send.disabled = true;
        decided(decisions);
      } catch (error) {
        this.wrong.textContent = error.message;
      }
    } },
      h("h3", {}, icon("hand"), t("May this be done?")),
      this.calls.map((call) => call.element), this.wrong, h("div", { class: "row end" }, send));
  }
}

const field = (value) => (value.length < 80 && !value.includes("\n") ? h("input", { class: "field mono", value }) : h("textarea", { class: "field mono", rows: 3, value }));

class Call {
  constructor(action, allowed, place) {
    this.action = action;
    this.kind = allowed.includes("approve") ? "approve" : allowed[0];
    this.fields = new Map();
    const words = { approve: t("Approve"), edit: t("Edit"), reject: t("Reject"), respond: t("Respond") };
    this.more = h("div", { class: "more" });
    this.choose = h("div", { class: "choose", role: "radiogroup", "aria-label": t("Decision about {name}", { name: action.name }) },
      ["approve", "edit", "reject", "respond"].filter((kind) => allowed.includes(kind)).map((kind) => h("label", {},
        h("input", { type: "radio", name: `decision-${place}`, value: kind, checked: kind === this.kind, onchange: () => { this.turn(kind); this.show(); } }), words[kind])));
    this.element = h("div", { class: "call" },
      h("p", { class: "name" }, action.name), h("p", { class: "soft small" }, action.description), this.choose, this.more);
    this.turn(this.kind);
  }

  turn(kind) {
    this.kind = kind;
    const given = Object.entries(this.action.args);
    if (kind === "edit") {
      this.fields = new Map(given.map(([name, value]) => [name, field(typeof value === "string" ? value : JSON.stringify(value))]));
      put(this.more, h("div", { class: "in" }, [...this.fields].map(([name, entry]) => h("label", { class: "named" }, name, entry))));
    } else if (kind === "respond" || kind === "reject") {
      this.message = h("textarea", { class: "field", rows: 2 });
      put(this.more, h("label", { class: "named" }, kind === "respond" ? t("Give this as its result, without doing it") : t("Why not? (may stay empty)"), this.message));
    } else {
      put(this.more, h("dl", { class: "args" }, given.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, typeof value === "string" ? value : JSON.stringify(value))])));
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

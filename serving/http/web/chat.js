// A conversation: its turns, and where one writes.

import * as api from "./api.js";
import { topBar } from "./app.js";
import { Turn } from "./answer.js";
import { dot, failure, h, icon, iconButton, put, row, say } from "./dom.js";
import { t } from "./words.js";

let open = null;

/** Shows a conversation; without a name a new one that has no turns yet. */
export async function openChat(world, id) {
  if (open && id && open.id === id && open.shown) return;
  open?.leave();
  open = new Chat(world, id);
  await open.show();
}

class Chat {
  constructor(world, id) {
    this.world = world;
    this.id = id;
    this.files = [];
    this.last = "";
    this.running = null;
    this.shown = false;
    this.turns = h("div", { class: "talk" });
    this.hello = null;
    this.stopped = () => this.stop();
    document.addEventListener("stop", this.stopped);
  }

  leave() {
    document.removeEventListener("stop", this.stopped);
    this.running?.leave();
  }

  async show() {
    const { main } = this.world;
    this.writing = this.box();
    put(main, topBar(this.world.team.name), h("h1", { class: "unseen" }, this.world.team.name), this.turns, this.writing);
    this.dropFiles(main);
    if (!this.id) {
      this.greet();
    } else {
      try {
        this.replay(await api.get(`api/threads/${api.at(this.id)}`));
      } catch (error) {
        put(this.turns, h("p", { class: "error" }, icon("help"), error.message));
      }
    }
    this.shown = true;
    this.sized();
    if (matchMedia("(min-width: 761px)").matches) this.task.focus();
  }

  greet() {
    const { team } = this.world;
    const tries = team.specialists.filter((one) => one.tries.length).slice(0, 4).map((one) =>
      h("button", { type: "button", class: `hue-${this.world.names.indexOf(one.name) % 5}`, onclick: () => this.ask(one.tries[0]) },
        h("span", { class: "who" }, dot(one.name, this.world.names), one.name), h("span", {}, one.tries[0])));
    this.hello = h("div", { class: "hello" },
      h("h2", { class: "greeting" }, t("What would you like to know?")),
      h("p", { class: "about" }, team.description || t("{n} specialists answer from their documents, and say where it stands.", { n: team.specialists.length })),
      h("div", { class: "tries" }, tries));
    put(this.turns, this.hello);
  }

  replay(thread) {
    put(this.turns);
    for (const [place, turn] of thread.turns.entries()) {
      const shown = this.add(turn.task);
      if (turn.answer) shown.finish(turn.answer, { rated: turn.rated });
      else if (thread.waiting && place === thread.turns.length - 1) shown.wait(thread.waiting, thread.run_id);
      else shown.fail(t("This was broken off before there was an answer."));
      this.last = turn.task;
    }
    this.setFiles(thread.files ?? []);
    document.title = `${thread.title} · ${this.world.team.name}`;
    this.down("instant");
  }

  add(task) {
    this.hello?.remove();
    this.hello = null;
    const turn = new Turn(this, task);
    this.turns.append(turn.element);
    return turn;
  }

  down(behavior = "smooth") {
    const { main } = this.world;
    requestAnimationFrame(() => main.scrollTo({ top: main.scrollHeight, behavior }));
  }

  /** Asks, and stays with the run until it ends. */
  async ask(task) {
    if (this.running || this.held || !task.trim()) return;
    this.last = task;
    const begins = !this.id;
    if (begins) {
      this.id = `chat-${Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("")}`;
      history.replaceState(null, "", `#/thread/${this.id}`);
    }
    if (begins && this.files.length) await this.sendWaiting();
    const turn = this.add(task);
    this.down();
    const specialist = this.who.value || null;
    await this.follow(turn, "v1/runs", { task, thread_id: this.id, specialist, stream: true });
  }

  async decide(turn, run, decisions) {
    await this.follow(turn, `v1/runs/${api.at(run)}/resume`, { decisions, stream: true });
  }

  async follow(turn, path, body) {
    const control = new AbortController();
    const mine = { stop: () => control.abort("stop"), leave: () => control.abort("leave") };
    const over = () => { if (this.running === mine) { this.running = null; this.busy(false); } };
    this.running = mine;
    this.busy(true);
    this.hold(false);
    turn.begin();
    try {
      let last = null;
      await api.events("POST", path, body, (name, data) => {
        if (name === "run") turn.run = data.id;
        else if (name === "end") last = data;
        else turn.take(data);
        if (data.name === "answer") over(); // who has read it asks on, before the stream ends
        if (turn.following) this.down("instant");
      }, control.signal);
      if (!last) turn.fail(t("The connection was lost."));
      else if (last.status === "failed") turn.fail(last.error?.message ?? t("Something went wrong."));
      else if (last.status === "cancelled") turn.fail(t("Stopped."), true);
    } catch (error) {
      if (error.name === "AbortError" || control.signal.aborted) turn.fail(t("Stopped."), true);
      else turn.fail(error.status === 0 ? t("The server cannot be reached.") : error.message);
    } finally {
      over();
    }
    if (turn.following) this.down();
    if (open === this) this.world.threads(this.id);
  }

  /** While a decision is needed there is nothing else to ask. */
  hold(yes) {
    this.held = yes;
    this.task.disabled = yes;
    this.task.placeholder = yes ? t("A decision is needed first.") : t("Ask {team} …", { team: this.world.team.name });
    if (!yes) this.task.focus();
  }

  stop() {
    if (!this.running) return;
    this.running.stop();
    say(t("Stopped."));
  }

  busy(yes) {
    this.go.setAttribute("aria-label", yes ? t("Stop") : t("Send"));
    this.go.title = yes ? t("Stop") : t("Send");
    put(this.go, icon(yes ? "stop" : "send"));
    this.go.disabled = !yes && !this.task.value.trim();
  }

  /** The field, with files, whom to ask, and the button. */
  box() {
    const { team } = this.world;
    this.task = h("textarea", {
      id: "task", rows: 1, "aria-label": t("Your question"), placeholder: t("Ask {team} …", { team: team.name }), maxlength: 100_000,
      oninput: () => this.sized(), onkeydown: (event) => this.key(event), onpaste: (event) => this.pasted(event),
    });
    this.who = h("select", { "aria-label": t("Whom to ask") }, h("option", { value: "" }, t("The router chooses")), team.specialists.map((one) => h("option", { value: one.name }, one.name)));
    this.go = h("button", { type: "button", class: "go", onclick: () => (this.running ? this.stop() : this.send()) });
    this.shelf = h("ul", { class: "files", "aria-label": t("Files of this conversation"), hidden: true });
    const pick = h("input", { type: "file", multiple: true, hidden: true, onchange: () => { this.attach([...pick.files]); pick.value = ""; } });
    const clip = team.files && iconButton("clip", t("Add files to this conversation"), () => pick.click());
    this.busy(false);
    return h("div", { class: "write" },
      h("div", { class: "box" }, this.shelf, this.task,
        row("", clip, pick, this.who, h("span", { class: "grow" }), this.go)),
      h("p", { class: "hint" }, t("Answers are the documents' own words where a source stands below them. Check what matters.")));
  }

  send() {
    const task = this.task.value;
    this.task.value = "";
    this.sized();
    this.ask(task);
  }

  sized() {
    this.task.style.height = "auto";
    this.task.style.height = `${this.task.scrollHeight}px`;
    if (!this.running) this.go.disabled = !this.task.value.trim();
  }

  key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.running) this.send();
    } else if (event.key === "ArrowUp" && !this.task.value && this.last) {
      event.preventDefault();
      this.task.value = this.last;
      this.sized();
    }
  }

  // Files for this conversation only.

  dropFiles(place) {
    if (!this.world.team.files) return;
    let depth = 0;
    const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const shown = (yes) => { this.turns.classList.toggle("dropping", yes); this.turns.dataset.drop = t("Drop files for this conversation"); };
    place.ondragenter = (event) => { if (holds(event)) { event.preventDefault(); depth += 1; shown(true); } };
    place.ondragleave = () => { depth = Math.max(0, depth - 1); if (!depth) shown(false); };
    place.ondragover = (event) => { if (holds(event)) event.preventDefault(); };
    place.ondrop = (event) => { if (!holds(event)) return; event.preventDefault(); depth = 0; shown(false); this.attach([...event.dataTransfer.files]); };
  }

  pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length && this.world.team.files) { event.preventDefault(); this.attach(files); }
  }

  async attach(files) {
    if (!this.id) {
      this.setFiles([...this.files, ...files]);
      return;
    }
    await this.upload(files);
  }

  async sendWaiting() {
    const waiting = this.files.filter((file) => file instanceof File);
    await this.upload(waiting);
  }

  async upload(files) {
    let kept = this.files.filter((file) => !(file instanceof File));
    for (const file of files) {
      say(t("Reading {name} …", { name: file.name }));
      try {
        kept = await api.put(`api/threads/${api.at(this.id)}/files/${encodeURIComponent(file.name)}`, file);
        say(t("{name} was read.", { name: file.name }));
      } catch (error) {
        this.turns.append(failure(icon("file"), `${file.name}: ${error.message}`));
      }
    }
    this.setFiles(kept);
  }

  setFiles(files) {
    this.files = files;
    this.shelf.hidden = !files.length;
    put(this.shelf, files.map((file) => h("li", {}, icon("file"), h("span", {}, file.name),
      iconButton("close", t("Remove {name}", { name: file.name }), () => this.detach(file)))));
  }

  async detach(file) {
    if (file instanceof File) this.setFiles(this.files.filter((one) => one !== file));
    else this.setFiles(await api.remove(`api/threads/${api.at(this.id)}/files/${encodeURIComponent(file.name)}`));
    this.task.focus();
  }
}

"""A warm turn of a team against what people build by hand: LangGraph, transformers and PEFT on the same base.

    python benchmarks/turn.py examples/plant [--limit TURNS] [--json OUT]

DATA is a team's folder. The same questions go to both in turn. The other side is a LangGraph graph of two stations, one
that chooses the adapter (`set_adapter`, one for each specialist) and one that generates (greedy, bf16); it is given the
specialist and the passages that metier found, and has neither router, search nor checks to pay for. `seconds_p50` is
a turn, `equal` the share of turns in which both said the same, `times_slower` the other side's median over metier's on
those turns. Ask for it on a machine that has nothing else to do.
"""

from __future__ import annotations

import statistics
import time
from itertools import chain, zip_longest
from typing import Any, TypedDict

import torch
from harness import Report, parser, progress, quantile
from langgraph.graph import END, START, StateGraph
from peft import PeftModel

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.team import Team
from metier.core.files import read_jsonl
from metier.core.models import ModelStore
from metier.core.settings import settings
from metier.specialists.adapters.choose import find_skill
from metier.specialists.engines.unpack import load_base, load_tokenizer
from metier.specialists.grounding import as_read, in_view
from metier.specialists.prompt import Message
from metier.specialists.styles.quote import ANSWER

WRITTEN = 64
"""Tokens that the other side writes at most."""


class Turn(TypedDict):
    """What flows through the other side's graph."""

    specialist: str
    messages: list[Message]
    text: str


def plain(text: str) -> str:
    """As one line, without the full stop."""
    return " ".join(text.split()).strip(".")


class ByHand:
    """The other side."""

    def __init__(self, names: list[str], base: str) -> None:
        gguf, skill = ModelStore().find(base).files["gguf"], str(find_skill("general"))
        torch.set_num_threads(settings().threads)
        self._tokenizer = load_tokenizer(gguf)
        self._model = PeftModel.from_pretrained(load_base(gguf, torch.bfloat16), skill, adapter_name=names[0])
        for name in names[1:]:
            self._model.load_adapter(skill, adapter_name=name)
        self._model.eval()
        graph = StateGraph(Turn)
        graph.add_node("choose", self._choose)
        graph.add_node("generate", self._generate)
        graph.add_edge(START, "choose")
        graph.add_edge("choose", "generate")
        graph.add_edge("generate", END)
        self._graph = graph.compile()

    def ask(self, specialist: str, messages: list[Message]) -> str:
        """What the model says, as one line."""
        return plain(self._graph.invoke({"specialist": specialist, "messages": messages, "text": ""})["text"])

    def _choose(self, state: Turn) -> dict[str, str]:
        self._model.set_adapter(state["specialist"])
        return {}

    @torch.inference_mode()
    def _generate(self, state: Turn) -> dict[str, str]:
        prompt: Any = self._tokenizer.apply_chat_template(
            state["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        written = self._model.generate(**prompt, do_sample=False, max_new_tokens=WRITTEN)
        answer = written[0, prompt["input_ids"].shape[1] :]
        return {"text": str(self._tokenizer.decode(answer, skip_special_tokens=True))}


def main() -> None:
    args = parser(__doc__ or "").parse_args()
    plan, report = Blueprint.read(args.data), Report(args)
    build(plan)
    cards = {name: card for name, card in plan.specialists.items() if card.style == "answer" and card.evaluation}
    asked_of = [
        [(name, row["input"]) for row in read_jsonl(plan.folders[name] / str(card.evaluation))]
        for name, card in cards.items()
    ]
    # One specialist after the other, so that each turn changes the adapter.
    mixed = chain.from_iterable(zip_longest(*asked_of))
    tasks = [task for task in mixed if task][: args.limit or 30]
    equal, ours, theirs = list[bool](), list[float](), list[float]()
    with Team.load(plan) as team:
        other = ByHand(list(cards), team.card.base)
        warm_up, *_ = tasks
        for name, task in progress([warm_up, *tasks], "turns"):
            began = time.perf_counter()
            answer = team.ask(task, specialist=name)
            between = time.perf_counter()
            knowledge, card = team.specialists[name].knowledge, cards[name].knowledge
            assert knowledge
            assert card
            messages = ANSWER.prompt(task, as_read(in_view(task, knowledge.search(task, k=card.top_k)), headings=True))
            asked = time.perf_counter()
            said = other.ask(name, messages)
            ours.append(between - began)
            theirs.append(time.perf_counter() - asked)
            shown = answer.text if answer.kind == "answer" else "".join(c.quote for c in answer.evidence[:1])
            equal.append(plain(shown) == said)
    equal, ours, theirs = equal[1:], ours[1:], theirs[1:]
    report.add("turn", "metier", "seconds_p50", ours, quantile(0.5))
    report.add("turn", "by hand", "seconds_p50", theirs, quantile(0.5))
    report.add("turn", "both", "equal", equal)
    if any(equal):
        same = [(a, b) for a, b, e in zip(ours, theirs, equal, strict=True) if e]
        ratio = statistics.median(b for _, b in same) / statistics.median(a for a, _ in same)
        report.add_value("turn", "both", "times_slower", ratio, len(same))
    report.finish()


if __name__ == "__main__":
    main()

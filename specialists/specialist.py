"""The specialist: card, engine and knowledge working on one brief.

    retrieve → answer → check → Answer | Handoff | abstention

It knows neither the router nor the graph: who else could take over comes with the brief.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import BaseModel

from ..core.errors import BudgetExceeded
from ..core.language import say
from ..core.run import Emit, Event, Journal, Meter, Unkept, ignore, timing
from ..core.runnable import as_tool, task_of
from ..core.text import codes, content_words
from ..core.types import Answer, Brief, Citation, Handoff, Outcome, Passage, ToolCall, Touch
from ..tools.policy import Effects
from ..tools.session import SpecialistTools, WaitingTools
from .card import KnowledgeCard, SpecialistCard
from .confidence import AS_SHIPPED, PlattScaling, confidence, confidence_measures
from .engines.engine import Engine, Sampling
from .grounding import nearest_evidence, shared_words, supporting_sentence, with_context
from .knowledge.bridge import bridge
from .knowledge.knowledge import Knowledge, merged
from .prompt import NOT_FOUND
from .styles.style import Style
from .styles.table import find_style
from .work import NOTHING_FOUND, Draft, Work, told

Sift = Callable[[Sequence[Passage]], tuple[Sequence[Passage], dict[str, str]]]
"""Takes out the passages that the model must not read, and says why: name of the guard to what it did."""

LEAST_COLLEAGUE = 0.10
"""Below this routing probability a colleague is not worth asking when this specialist has no answer."""


class Specialist(Runnable[LanguageModelInput, Answer]):
    """One trade, ready to work: on a brief (`run`), or as a LangChain Runnable on a text or messages.

    Args:
        card: What it is.
        engine: Who runs the base model; shared with the team. None for one that is opened only to make lessons.
        knowledge: Its documents, or None.
        style: How it answers; left out: the installed style that its card names.
        adapter: Name of the engine's adapter that it works with.
        tools: Its tools.
        resources: What its style opened for it (`Style.open`): a database, a trained classifier.
        sift: Looks at the passages before the model does; left out: it reads all of them.
        journal: Keeps the steps of who has tools, so that a run that was interrupted does not take them again.
        abstain_below: Confidence under which it hands over or abstains, where the card does not say. Left out: the
            style's.
        base: Name of the base model, on whose answers its confidence was fitted.
        calibration: How its team's own questions correct that.
        version: Hash of all that it is made of, shown in each answer.
    """

    def __init__(
        self,
        card: SpecialistCard,
        engine: Engine | None,
        knowledge: Knowledge | None = None,
        *,
        style: Style | None = None,
        adapter: str | None = None,
        tools: SpecialistTools | WaitingTools | None = None,
        resources: Any = None,
        sift: Sift | None = None,
        journal: Journal | None = None,
        abstain_below: float | None = None,
        base: str = "",
        calibration: PlattScaling = AS_SHIPPED,
        version: str = "unversioned",
    ) -> None:
        self.card, self.engine, self.knowledge, self.version = card, engine, knowledge, version
        self.seen = ""
        """Of one that shows only some of its documents: tells apart what may be seen."""
        self.style, self.resources = style or find_style(card.style), resources
        self._base, self._calibration = base, calibration
        self.tools, self._journal = tools, journal or Unkept()
        said = (card.abstain_below, abstain_below, self.style.abstain_below)
        self.abstain_below = next(least for least in said if least is not None)
        self._sift = sift or (lambda passages: (passages, {}))
        sampling = Sampling(max_tokens=card.model.max_tokens, temperature=card.model.temperature)
        self._chat = engine.chat(sampling, adapter=adapter, slot=card.name) if engine else None

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Name, description and parameters (JSON Schema) of each of its tools."""
        return self.tools.functions if self.tools else []

    @property
    def effects(self) -> dict[str, Effects]:
        """What each of its tools does."""
        return self.tools.effects if self.tools else {}

    @property
    def repeatable(self) -> frozenset[str]:
        """Its tools for which the same call twice is one effect."""
        return self.tools.repeatable if self.tools else frozenset()

    def call(self, call: ToolCall, touched: Sequence[Touch] = ()) -> tuple[ToolCall, tuple[Touch, ...]]:
        """Do a call that somebody else decided on, under the same rules as its own: approvals, time, effects once.

        Args:
            touched: What the call was made of.

        Returns:
            The call with its result or error, and what that is made of.

        Raises:
            ToolUnreachable: a server that its tools come from does not answer.
        """
        if self.tools is None:
            return call.model_copy(update={"error": f"'{self.card.name}' has no tools"}), tuple(touched)
        session = self.tools.open(touched).begin(untrusted="untrusted" in touched)
        return session(call), session.touched

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Answer:
        """Answer a text, or the last of some messages; the turns before it are what it may refer to.

        Args:
            kwargs: Other fields of the `Brief`: `facts`, `budget` …

        Raises:
            InputError: there is no task.
            EngineError: the model's engine failed.
        """

        def work(given: LanguageModelInput) -> Answer:
            task, window = task_of(given)
            outcome = self.run(Brief(task=task, window=tuple(window), **kwargs))
            assert isinstance(outcome, Answer)  # nobody else is named in the brief
            return outcome

        return self._call_with_config(work, input, config)

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """A LangChain tool that asks this specialist; the artifact of a call is the `Answer`.

        Args:
            name, description: Left out: the card's.
            args_schema, arg_types: LangChain's; the tool takes a `question` in any case.
        """
        return as_tool(self, name or self.card.name, description or self.card.description)

    def run(self, brief: Brief, emit: Emit = ignore) -> Outcome:
        """Work on a brief. Never raises for a used-up budget: that is an abstention with its reason.

        Raises:
            EngineError: the model's engine failed.
            ToolUnreachable: a server that its tools come from does not answer.
        """
        passages, guards = self._retrieve(brief, emit)
        outcome = self._work(brief, passages, emit)
        return outcome.model_copy(update={"guards": guards}) if isinstance(outcome, Answer) else outcome

    def _work(self, brief: Brief, passages: Sequence[Passage], emit: Emit) -> Outcome:
        assert self.engine is not None, "opened without an engine, it only makes lessons"
        assert self._chat is not None
        tools = self.tools.open(brief.touched) if self.tools else None
        work = Work(
            self.card,
            brief,
            passages,
            self.engine,
            self._chat,
            Meter(brief.budget),
            emit,
            instruction=self.style.instruction,
            tools=tools,
            journal=self._journal,
            resources=self.resources,
            touches=self.style.touches,
            headings=self.style.headings,
            likeness=self.knowledge.likeness if self.knowledge else shared_words,
        )
        if to := self._asked_elsewhere(brief):
            noted = self._note(brief, passages)
            return self._hand_over(to, noted, work, reason="the card's rule for this kind of task")
        try:
            draft = self.style.answer(work)
        except BudgetExceeded as error:
            draft = told(Draft(text=NOT_FOUND, found=False, tool_calls=tools.done if tools else ()))
            return self._answer(draft, 0.0, work, "" if draft.found else f"budget: {error.message}")
        return self._check(told(draft), work)

    def _retrieve(self, brief: Brief, emit: Emit) -> tuple[Sequence[Passage], dict[str, str]]:
        """The passages that the model may read, and what guards took out."""
        if self.card.knowledge is None and not brief.passages:
            return [], {}
        with timing("retrieve", self.card.name) as note:
            passages, guards = self._sift(self._best(brief))
            note(passages=len(passages))
        found = [{"source": p.source, "page": p.page, "score": round(p.score, 4)} for p in passages]
        emit(Event(name="retrieve", specialist=self.card.name, data={"passages": found}))
        for name, did in guards.items():
            emit(Event(name="guard", specialist=self.card.name, data={"guard": name, "did": did, "side": "between"}))
        return passages, guards

    def _best(self, brief: Brief) -> Sequence[Passage]:
        """Of its own documents and of the files that came with the brief, the passages that fit best."""
        card = self.card.knowledge or KnowledgeCard()
        own = self._search(brief.query or brief.task, card.top_k, brief.hops)
        return merged(brief.passages, own)[: card.top_k]

    def _search(self, query: str, k: int, hops: int) -> Sequence[Passage]:
        if self.knowledge is None:
            return ()
        search = self.knowledge.search
        return search(query, k) if hops < 2 else bridge(search, query, k, partial(search, rerank=False))

    def _check(self, draft: Draft, work: Work) -> Outcome:
        with timing("check"):
            measures = confidence_measures(work.asked, draft, work.passages, work.likeness)
            sure = confidence(draft, measures, self._base, self._calibration)
        good = draft.found and (sure >= self.abstain_below or any(c.binding for c in draft.tool_calls))
        checked = {"found": draft.found, "confidence": sure, "measures": measures}
        work.emit(Event(name="check", specialist=self.card.name, data=checked))
        if good:
            citations = (*(with_context(c, work.passages) for c in draft.citations), *work.brief.citations)
            return self._answer(replace(draft, citations=citations), sure, work, "")
        reason = draft.reason if not draft.found else f"only {sure:.0%} sure"
        if to := self._best_colleague(work.brief):
            return self._hand_over(to, work.brief, work, reason=f"{self.card.name}: {reason}")
        return self._answer(draft, sure, work, reason)

    def _asked_elsewhere(self, brief: Brief) -> str | None:
        if brief.budget.handoffs < 1:
            return None
        rules = [h for h in self.card.handoffs if h.when and h.to in brief.colleagues]
        return next((h.to for h in rules if re.search(h.when or "", brief.task, re.IGNORECASE)), None)

    def _best_colleague(self, brief: Brief) -> str | None:
        """The most probable colleague whom the card allows, if the router thinks it worth while."""
        allowed = {h.to for h in self.card.handoffs if not h.when}
        able = {n: p for n, p in brief.colleagues.items() if n in allowed and p >= LEAST_COLLEAGUE}
        return max(able, key=able.__getitem__) if able and brief.budget.handoffs > 0 else None

    def _note(self, brief: Brief, passages: Sequence[Passage]) -> Brief:
        """What this specialist's own documents say about the task goes along: part numbers, codes, names.

        Only a passage that holds a code of the task is worth it; others would lead the colleague's search astray.
        """
        task = brief.query or brief.task
        named = codes(task)
        knowing = [p for p in passages if named & set(content_words(p.text))]
        fact = supporting_sentence(task, knowing, least=0.2)
        if fact is None:
            return brief
        return brief.model_copy(
            update={
                "facts": (*brief.facts, fact.quote),
                "citations": (*brief.citations, fact),
                "query": f"{task} {fact.quote}",
            }
        )

    def _hand_over(self, to: str, brief: Brief, work: Work, *, reason: str) -> Handoff:
        work.emit(Event(name="handoff", specialist=self.card.name, data={"to": to, "reason": reason}))
        others = {n: p for n, p in brief.colleagues.items() if n != to}
        passed = brief.model_copy(
            update={
                "sender": self.card.name,
                "colleagues": others,
                "budget": work.meter.rest(handoffs=1),
                "touched": work.touched,
            }
        )
        return Handoff(name=to, brief=passed, reason=reason, usage=work.meter.usage)

    def _answer(self, draft: Draft, sure: float, work: Work, reason: str) -> Answer:
        task = work.asked
        evidence = nearest_evidence(task, draft.citations, work.passages) if reason else ()
        return Answer(
            text=_doubt(reason, evidence, work.brief.task) if reason else draft.text,
            kind="abstain" if reason else "answer",
            specialist=self.card.name,
            version=self.version,
            citations=() if reason else draft.citations,
            evidence=evidence,
            confidence=sure,
            reason=reason,
            data=None if reason else draft.data,
            tool_calls=draft.tool_calls,
            touched=work.touched,
            usage=work.meter.usage,
        )


def _doubt(reason: str, evidence: Sequence[Citation], task: str) -> str:
    if evidence:
        return say("doubt", task)
    return say("unknown", task, reason=say("nothing", task) if reason == NOTHING_FOUND else reason)

"""One task on a specialist's desk: what a style needs to answer it, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk

from ..core.run import Emit, Event, Journal, Meter, Plain, Unkept, timing
from ..core.types import Brief, Citation, Passage, ToolCall, Touch, Usage
from ..tools.session import ToolSession
from .card import SpecialistCard
from .engines.engine import Constraint, Engine
from .grounding import Likeness, as_read, cite_best, in_view, shared_words
from .prompt import Message, render

CERTAINTY = ("logprob", "first_logprob")
"""What engines may tell about an answer's tokens; see `engines.engine.certainty`."""

DECLINED = "declined"
"""In a draft's certainty: the model said that nothing answers, and was made to point at what comes nearest."""

VERDICT = "verdict"
"""In a draft's certainty: the log-probability of the Yes or No that opens it, as its sentence alone was judged."""

NOTHING_FOUND = "nothing in its documents answers this"
"""The usual reason why nothing was found."""


@dataclass(frozen=True)
class Reply:
    """One model call's result."""

    text: str
    certainty: dict[str, float]
    """`logprob` and `first_logprob`: of the answer's tokens on the average, and of its first; may be empty."""
    options: dict[str, float] = field(default_factory=dict)
    """Probability of each option, for `OneOf`."""


@dataclass(frozen=True)
class Draft:
    """An answer before it is checked."""

    text: str
    found: bool
    """False when the model says that the passages do not hold the answer."""
    citations: tuple[Citation, ...] = ()
    data: Any = None
    certainty: dict[str, float] = field(default_factory=dict)
    """As in `Reply`."""
    probability: float | None = None
    """Probability of the chosen option, for styles that choose."""
    tool_calls: tuple[ToolCall, ...] = ()
    reason: str = NOTHING_FOUND
    """Why nothing was found, for people."""


def told(draft: Draft) -> Draft:
    """The draft, or what its calls came to when one of them cannot be passed over: it changed something, say."""
    if draft.found or not any(call.binding and call.error is None for call in draft.tool_calls):
        return draft
    lines = [c.result if c.error is None else f"{c.name} failed: {c.error}" for c in draft.tool_calls]
    return replace(draft, text="\n".join(lines), found=True)


@dataclass
class Work:
    """A brief with everything that is needed to answer it."""

    card: SpecialistCard
    brief: Brief
    passages: Sequence[Passage]
    engine: Engine
    chat: BaseChatModel
    meter: Meter
    emit: Emit
    instruction: str = ""
    """The style's: first line of its prompts."""
    tools: ToolSession | None = None
    journal: Journal = field(default_factory=Unkept)
    resources: Any = None
    """What the style opened for its specialists: a database, a trained classifier."""
    touches: tuple[Touch, ...] = ()
    """What every answer of the style has been in touch with."""
    headings: bool = False
    """Passages are read below the headings of their sections."""
    likeness: Likeness = shared_words
    """Tells which of several places of a quote is meant."""

    @property
    def asked(self) -> str:
        """The task as a text of its own, also where it goes on from the conversation."""
        return self.brief.query or self.brief.task

    @property
    def touched(self) -> tuple[Touch, ...]:
        """What the answer is made of."""
        touched: set[Touch] = {*self.brief.touched, *self.touches, *(self.tools.touched if self.tools else ())}
        if self.passages:
            touched.add("untrusted")
        return tuple(sorted(touched))

    @cached_property
    def seen(self) -> list[Passage]:
        """The passages with what the model sees of them."""
        return in_view(self.brief.task, self.passages, self.brief.query)

    @property
    def texts(self) -> list[str]:
        """What can be quoted."""
        return [passage.text for passage in self.seen]

    def cite(self, quote: str) -> Citation | None:
        """The place where a quote stands; of several that which suits the task best."""
        return cite_best(quote, self.asked, self.passages, self.likeness)

    def prompt(self, *, more: Sequence[str] = (), **parts: Any) -> list[Message]:
        """The style's messages for this brief; `more` facts are added, other `parts` go to `render`."""
        return render(
            self.instruction,
            self.brief.task,
            as_read(self.seen, headings=self.headings),
            instructions=self.card.instructions,
            facts=(*self.brief.facts, *more),
            window=self.brief.window,
            **parts,
        )

    def ask(
        self, messages: list[Message], constraint: Constraint | None = None, *, aloud: bool = True, **sampling: float
    ) -> Reply:
        """Call the model once, within the budget; tokens are emitted as they come.

        Args:
            aloud: Emit the tokens; not for what is no answer yet.
            sampling: `temperature` and `seed` in place of the card's, for another answer; its tokens are not emitted.

        Raises:
            BudgetExceeded: no step, token or second is left.
            EngineError: the engine refused or failed.
        """
        text = "".join(m["content"] for m in messages)
        # No token is shorter than a byte. Counting takes milliseconds, so it is done near the limit only.
        near = len(text.encode()) > self.meter.rest().tokens
        self.meter.check(tokens=self.engine.count(text) if near else 0)
        options = self.engine.constrain(constraint) if constraint else {}
        # Only who acts can be interrupted in the middle; others simply begin again.
        once = self.journal.once if self.tools else Unkept().once
        said = once(lambda: self._say(messages, options | sampling, aloud=aloud and not sampling))
        self.meter.spend(Usage(**said["usage"]))
        return Reply(text=said["text"], certainty=said["certainty"], options=said["options"])

    def _say(self, messages: list[Message], options: dict[str, Any], *, aloud: bool) -> Plain:
        whole: AIMessageChunk | None = None
        with timing("model", getattr(self.chat, "model_name", "")) as note:
            for chunk in self.chat.stream([(m["role"], m["content"]) for m in messages], **options):
                if not isinstance(chunk, AIMessageChunk):
                    continue
                whole = chunk if whole is None else whole + chunk
                if chunk.content and aloud:
                    self.emit(Event(name="token", specialist=self.card.name, data={"text": chunk.content}))
            told, spent = (whole.response_metadata, whole.usage_metadata or {}) if whole else ({}, {})
            tokens = {name: spent.get(name, 0) for name in ("input_tokens", "output_tokens")}
            note(provider=self.engine.name, finish=told.get("finish_reason"), **tokens)
        return {
            "text": str(whole.content).strip() if whole else "",
            "certainty": {k: v for k in CERTAINTY if (v := told.get(k)) is not None},
            "options": told.get("probabilities", {}),
            "usage": {**tokens, "calls": 1},
        }

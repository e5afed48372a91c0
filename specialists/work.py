"""One task on a specialist's desk: what a style needs to answer it, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk

from ..core.run import Emit, Event, Journal, Meter, Plain, Unkept, timing
from ..core.types import Brief, Citation, Passage, ToolCall, Touch, Usage
from .card import SpecialistCard
from .engines.engine import Constraint, Engine
from .grounding import in_view
from .prompt import Message, render
from .styles.act.decision import CallDecision
from .styles.act.shown_tools import ToolShortlist
from .styles.sql.source import SqlSource

CERTAINTY = ("logprob", "first_logprob")
"""What engines may tell about an answer's tokens; see `engines.engine.certainty`."""


class Hands(Protocol):
    """The tools of a specialist for one brief, as a style sees them."""

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Name, description and parameters (JSON Schema) of each."""
        ...

    @property
    def touched(self) -> tuple[Touch, ...]:
        """What the calls have been in touch with."""
        ...

    @property
    def done(self) -> tuple[ToolCall, ...]:
        """The calls that were made until now."""
        ...

    def begin(self, *, untrusted: bool) -> Callable[[ToolCall], ToolCall]:
        """What does a call, or says in `ToolCall.error` why not; `untrusted` when text from documents is in view.

        A call may end the run with an exception that is none of metier's errors: it goes on when a person has decided.
        """
        ...


class Toolbox(Protocol):
    """The tools of a specialist; whoever makes a team gives them."""

    def open(self, touched: Iterable[Touch] = ()) -> Hands:
        """Begin to work on a brief that has been in touch with `touched` already."""
        ...


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
    reason: str = "nothing in its documents answers this"
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
    hands: Hands | None = None
    journal: Journal = field(default_factory=Unkept)
    selection: ToolShortlist = field(default_factory=ToolShortlist)
    """Which of the tools' functions the model is shown."""
    decision: CallDecision | None = None
    """Whether to call one; None leaves it to the model."""
    likely: Callable[[str], Mapping[str, float]] | None = None
    """Its label head: how probable each label is."""
    desk: SqlSource | None = None
    """Its database, for the style `sql`."""

    @property
    def touched(self) -> tuple[Touch, ...]:
        """What the answer is made of."""
        seen: set[Touch] = {*self.brief.touched, *(self.hands.touched if self.hands else ())}
        if self.passages:
            seen.add("untrusted")
        if self.desk:
            seen.add("sensitive")
        return tuple(sorted(seen))

    @cached_property
    def texts(self) -> list[str]:
        """The passages as the model sees them."""
        return in_view(self.brief.task, self.passages, self.brief.query)

    def prompt(self, style: str, *, more: Sequence[str] = (), **parts: Any) -> list[Message]:
        """The style's messages for this brief; `more` facts are added, other `parts` go to `render`."""
        return render(
            style,
            self.brief.task,
            self.texts,
            instructions=self.card.instructions,
            facts=(*self.brief.facts, *more),
            window=self.brief.window,
            **parts,
        )

    def ask(self, messages: list[Message], constraint: Constraint | None = None, **sampling: float) -> Reply:
        """Call the model once, within the budget; tokens are emitted as they come.

        Args:
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
        once = self.journal.once if self.hands else Unkept().once
        said = once(lambda: self._say(messages, options | sampling, aloud=not sampling))
        self.meter.spend(Usage(**said["usage"]))
        return Reply(text=said["text"], certainty=said["certainty"], options=said["options"])

    def _say(self, messages: list[Message], options: dict[str, Any], *, aloud: bool) -> Plain:
        whole: AIMessageChunk | None = None
        with timing("model"):
            for chunk in self.chat.stream([(m["role"], m["content"]) for m in messages], **options):
                if not isinstance(chunk, AIMessageChunk):
                    continue
                whole = chunk if whole is None else whole + chunk
                if chunk.content and aloud:
                    self.emit(Event(name="token", specialist=self.card.name, data={"text": chunk.content}))
        told, spent = (whole.response_metadata, whole.usage_metadata or {}) if whole else ({}, {})
        tokens = {name: spent.get(name, 0) for name in ("input_tokens", "output_tokens")}
        return {
            "text": str(whole.content).strip() if whole else "",
            "certainty": {k: v for k in CERTAINTY if (v := told.get(k)) is not None},
            "options": told.get("probabilities", {}),
            "usage": {**tokens, "calls": 1},
        }

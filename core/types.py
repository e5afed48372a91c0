"""The values that travel between the parts of a team. Plain data: no behaviour beyond small conveniences.

Everything here can be written as JSON and read back (`model_dump(mode="json")` / `model_validate`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """Base of all values: immutable, strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Passage(Value):
    """A piece of a document, as it was found by a search."""

    id: str
    text: str
    source: str
    """Path of the document, relative to the folder it was added from."""
    heading: tuple[str, ...] = ()
    """Titles from the document's first down to the section that holds the passage."""
    page: int | None = None
    """Number, from 1, of the page on which it begins, where the format has pages; a form feed in `text` ends a page."""
    start: int = 0
    end: int = 0
    """Character offsets in the document's extracted text."""
    score: float = 0.0
    """Relevance for the query, comparable within one search only. Reranking changes the order, not the score."""
    signals: dict[str, float] = Field(default_factory=dict)
    """What the score is made of: `dense` (cosine) and `bm25`. Of a passage that was compared word by word also
    `rerank`, how near it came."""


class Citation(Value):
    """A quote that stands word for word in a source."""

    source: str
    quote: str
    start: int
    end: int
    """Character offsets of the quote in the document's extracted text."""
    page: int | None = None
    heading: tuple[str, ...] = ()
    passage: str = ""
    """Id of the passage that was quoted."""
    context: str = ""
    """The sentence or table row around the quote, for people."""


class Choice(Value):
    """A candidate and the calibrated probability that it is right."""

    name: str
    probability: float


class Part(Value):
    """A piece of a task and the specialist that should do it."""

    specialist: str
    text: str


class Route(Value):
    """The router's answer.

    The fields `choice`, `probabilities` and `confidence` have the meaning of langchain-core's `ChoiceAnswer`.
    """

    decision: Literal["one", "several", "surest", "clarify", "abstain"]
    parts: tuple[Part, ...] = ()
    """Who does what: one part for `one`, two or more for `several`, none otherwise. `surest`: all parts are the whole
    task, and the surest answer counts."""
    choices: tuple[Choice, ...] = ()
    """All specialists, most probable first; probabilities sum to at most 1, the rest is 'none of these'."""
    confidence: float = 0.0
    candidates: tuple[str, ...] = ()
    """The conformal set: the right specialist is among these with the coverage the router was fitted for."""
    reason: str = ""
    """One sentence for people: which rule or signal decided."""
    signals: dict[str, float] = Field(default_factory=dict)

    @property
    def choice(self) -> str | None:
        """The specialist of the first part; None when nobody was chosen."""
        return self.parts[0].specialist if self.parts else None

    @property
    def probabilities(self) -> dict[str, float]:
        """Name to probability."""
        return {c.name: c.probability for c in self.choices}


class Usage(Value):
    """Tokens and calls of the language model."""

    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            calls=self.calls + other.calls,
        )


class Budget(Value):
    """What one run may spend. Zero means: nothing left."""

    steps: int = 12
    """Model calls and tool calls together."""
    tokens: int = 8000
    """Input and output tokens together."""
    seconds: float = 60.0
    handoffs: int = 2


Touch = Literal["untrusted", "sensitive", "external"]
"""What a run has been in touch with: text that strangers may have written, data that must not leave, the outside."""


class Turn(Value):
    """One earlier turn of the conversation."""

    role: Literal["user", "assistant"]
    text: str
    touched: tuple[Touch, ...] = ()
    """What the answer was made of."""


class Brief(Value):
    """The typed hand-over to a specialist: never the whole transcript."""

    task: str
    """What is asked, in the user's words."""
    query: str = ""
    """What to search for: the task made self-contained. Empty means: the task itself."""
    facts: tuple[str, ...] = ()
    """What is already known and matters here: long-term facts, results of other specialists."""
    window: tuple[Turn, ...] = ()
    """The last turns, only when the task refers to them."""
    citations: tuple[Citation, ...] = ()
    passages: tuple[Passage, ...] = ()
    """Of files that came with the conversation, best first; read beside the specialist's own documents."""
    hops: int = 1
    """2: a second search uses what the first found, for answers that stand in two places."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """For a workflow: what is known already of its parameters, by name."""
    sender: str | None = None
    """The specialist that handed over; None when the router did."""
    touched: tuple[Touch, ...] = ()
    """What this text was made of; decides which tools may still act on it."""
    colleagues: dict[str, float] = Field(default_factory=dict)
    """Who else could take over, with the router's probability."""
    budget: Budget = Budget()


class ToolCall(Value):
    """One call of a tool, with what came back."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    result: str = ""
    error: str | None = None
    seconds: float = 0.0
    guards: dict[str, str] = Field(default_factory=dict)
    """Guardrails that changed the result: name to what they did."""
    binding: bool = False
    """It changed something, or a person decided about it: the answer tells it, however unsure the model was."""


class Answer(Value):
    """What a specialist or a whole team says."""

    text: str
    kind: Literal["answer", "abstain", "clarify", "waiting"] = "answer"
    """`waiting`: the run stands still until a person decides about the calls in `data`."""
    specialist: str | None = None
    version: str | None = None
    citations: tuple[Citation, ...] = ()
    evidence: tuple[Citation, ...] = ()
    """Of an abstention: the passages that come nearest, best first. `quote` is the likely sentence, unconfirmed,
    `context` the passage around it."""
    confidence: float = 0.0
    reason: str = ""
    """Why it abstained, or which check it passed."""
    broken: bool = False
    """It abstained because something failed, and not for want of an answer: the same may work another time."""
    data: Any = None
    """The parsed value of the styles `label` and `json`; of a waiting run, the `ApprovalRequest`."""
    tool_calls: tuple[ToolCall, ...] = ()
    touched: tuple[Touch, ...] = ()
    """What the answer was made of."""
    route: Route | None = None
    handoffs: tuple[str, ...] = ()
    """Names in the order in which the task travelled, when it was handed over."""
    guards: dict[str, str] = Field(default_factory=dict)
    """Guardrails that acted: name to what they did."""
    usage: Usage = Usage()
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds per stage: guard_in, recall, route, retrieve, model, check, …; `total`."""
    thread_id: str = ""
    run_id: str = ""


class Handoff(Value):
    """A specialist passes the brief on. The name is one of `Brief.colleagues`."""

    name: str
    brief: Brief
    reason: str = ""
    usage: Usage = Usage()
    timings: dict[str, float] = Field(default_factory=dict)


Outcome = Answer | Handoff
"""What a specialist returns: an `Answer` (which may be an abstention) or a `Handoff`."""


# Logistic models that ship as JSON: a few named measures, a weight for each.


def sigmoid(logit: float) -> float:
    """The probability of log-odds."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


class Logistic(Value):
    """A logistic model over a few named measures; as JSON it is what ships."""

    weights: dict[str, float]
    """By the name of the measure."""
    bias: float
    made_by: str = ""
    """The command that fitted it, for people."""

    def logit(self, measures: Mapping[str, float]) -> float:
        """Log-odds of the positive class; each weight needs its measure."""
        return self.bias + sum(weight * measures[name] for name, weight in self.weights.items())

    def probability(self, measures: Mapping[str, float]) -> float:
        """Probability (0 to 1) of the positive class; each weight needs its measure."""
        return sigmoid(self.logit(measures))

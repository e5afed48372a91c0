"""The team's file (`team.yaml`): who is on it, on which model, within which limits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..specialists.card import NAME, Section
from ..tools.rules import TeamRules


class BudgetCard(Section):
    """What one turn may spend; a turn that needs more stops with what it has and says so."""

    steps: int = Field(default=12, ge=1)
    """Model calls and tool calls together."""
    tokens: int = Field(default=8000, ge=100)
    """Input and output tokens together."""
    seconds: float = Field(default=60, gt=0)
    handoffs: int = Field(default=2, ge=0)
    tool_seconds: float = Field(default=30, gt=0)
    """Seconds that one attempt of a tool call may take."""


class RouterCard(Section):
    """How tasks find their specialist."""

    false_refusal: float = Field(default=0.04, ge=0, lt=1)
    """Share of the team's own tasks that may be refused by mistake; lower lets more foreign tasks through."""
    log: bool = True
    """Keep every decision with its task in `.metier/decisions.jsonl`, to look at, replay and correct it."""
    outside: list[str] = Field(default_factory=list)
    """Tasks that nobody here should answer, or `.jsonl` files of them, relative to team.yaml."""


class MemoryCard(Section):
    """What is remembered between turns."""

    window: int = Field(default=6, ge=0)
    """Last turns of the thread that are kept as they are; of earlier ones the key sentences. 0: no turn is recalled."""
    recall_tokens: int = Field(default=400, ge=20)
    """Words and punctuation marks of earlier turns that a task which refers to them brings along."""
    checkpoints: str = "sqlite"
    """Where threads are saved: `sqlite` (beside the team), `postgresql://…` (extra `postgres`), or `none`. `env:NAME`
    reads the address from a variable."""
    facts: str = "sqlite"
    """Where long-term facts about users are kept: `sqlite`, `postgresql://…`, `env:NAME` or `none`, as for threads."""
    facts_days: float | None = Field(default=None, gt=0)
    """Days after which a fact is forgotten that was not said again. Left out: never."""
    durability: Literal["sync", "async", "exit"] = "sync"
    """When a step is saved: before the next begins, while it runs, or only when the turn ends."""


class TeamCard(Section):
    """A team of specialists, compiled into one LangGraph graph."""

    name: str = Field(pattern=NAME)
    description: str = ""
    base: str = "smollm2-135m"
    """The base model, a name of `metier models list`; changing it is this one line."""
    embedder: str = "minilm"
    """Text to vectors, for router, knowledge and memory."""
    engine: str = "llama"
    """Who runs the base: `llama` (in this process), the address of an OpenAI-compatible server (`http://…/v1`), or
    `transformers` (in this process, slower; adapters of every kind, docs/training.md)."""
    specialists: list[str] = Field(min_length=1)
    """Folders that hold a specialist.yaml, relative to team.yaml."""
    router: RouterCard = RouterCard()
    budget: BudgetCard = BudgetCard()
    memory: MemoryCard = MemoryCard()
    policy: TeamRules = TeamRules()
    guardrails: list[str] = Field(default_factory=lambda: ["length", "injection"])
    """Checks before and after, by name."""
    abstain_below: float = Field(default=0.3, ge=0, le=1)
    """Specialists refuse to answer below this confidence."""

    @property
    def served(self) -> bool:
        """Whether a server runs the base, with adapters of its own."""
        return "://" in self.engine

    @model_validator(mode="after")
    def _no_specialist_twice(self) -> TeamCard:
        twice = {s for s in self.specialists if self.specialists.count(s) > 1}
        if twice:
            raise ValueError(f"listed twice: {', '.join(sorted(twice))}")
        return self

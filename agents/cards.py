"""What a team is made of before anything is loaded: its cards, and where their files are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, Field, model_validator

from ..core.errors import ConfigError, unknown
from ..core.files import read_jsonl
from ..core.yaml import load_yaml
from ..specialists.adapters.choose import check_adapter_base
from ..specialists.adapters.registry import Registry
from ..specialists.card import NAME, Group, Section, SpecialistCard
from ..specialists.styles.style import Style
from ..specialists.styles.table import check_card, find_style
from ..tools.policy import TeamRules

# The team's file (`team.yaml`): who is on it, on which model, within which limits.


class BudgetCard(Section):
    """What one turn may spend; a turn that needs more stops with what it has and says so."""

    steps: int = Field(default=12, ge=1)
    """Model calls and tool calls together."""
    tokens: int = Field(default=8000, ge=100)
    """Input and output tokens together."""
    seconds: float = Field(default=60, gt=0)
    """By the clock."""
    handoffs: int = Field(default=2, ge=0)
    """How often a task may be handed on to another specialist."""
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


class ServerCard(Section):
    """The model server, where `engine` is an address."""

    model: str | None = None
    """The base's name there. Left out: `base`, or the first model that the server lists."""
    api_key: str | None = None
    """For servers that ask for one; `env:NAME` reads it from a variable."""
    publish: str | None = None
    """A folder that the server reads, too, relative to team.yaml: the specialists' adapters are copied there, and vLLM
    or SGLang loads them while it runs. Left out: the server has its adapters, and cards name them."""
    seen_as: str | None = None
    """Where the server sees that folder; left out: at the same place."""
    context: int | None = Field(default=None, ge=256)
    """Window in tokens; left out: what the server tells."""
    timeout: float = Field(default=60, gt=0)
    """Seconds for one request."""
    patience: float = Field(default=10, ge=0)
    """Seconds for which a request is tried again while the server is busy or away."""


class LimitsCard(Section):
    """What each caller of a server may use; more is refused with 429 and when to come back. Who used what:
    `metier usage`."""

    requests_per_minute: int | None = Field(default=600, ge=1)
    """Of one key or one session on the page; counts where there are users."""
    body_mb: float = Field(default=100, gt=0)
    """The largest request, a file among them, in megabytes."""
    seconds: float = Field(default=600, gt=0)
    """The longest that one task may wait and be worked on."""
    tokens_per_day: int | None = Field(default=None, ge=0)
    """Tokens in and out of each user; a day begins at midnight UTC. Left out: as many as they like."""
    seconds_per_day: float | None = Field(default=None, ge=0)
    """Seconds that the team works for each user."""


class RetentionCard(Section):
    """Days after which what people said is forgotten. Left out: it is kept until somebody erases it."""

    threads: float | None = Field(default=None, gt=0)
    """Conversations in which nothing was said for so long, with their files and effects."""
    logs: float | None = Field(default=None, gt=0)
    """How tasks were routed and how sure the answers were; a router that learnt from one is fitted again without it."""
    feedback: float | None = Field(default=None, gt=0)
    """Notes about answers that nobody has reviewed."""
    traces: float | None = Field(default=None, gt=0)
    """What was asked over HTTP and how it went: runs, batches and their files; after 30 days in any case."""


class TeamCard(Section):
    """A team of specialists, compiled into one LangGraph graph."""

    name: str = Field(pattern=NAME)
    """In answers, traces and for API clients."""
    description: str = ""
    """For people, and for programs that look for a team."""
    base: str = "qwen2.5-coder-0.5b"
    """The base model, a name of `metier models list`; changing it is this one line. Cards may name others
    (`model.base`)."""
    embedder: str = "multilingual-e5-small"
    """Text to vectors, for router, knowledge and memory."""
    engine: str = "auto"
    """Who runs the base: `openvino` or `llama` (in this process; `auto`: the one that was faster here when the base was
    pulled), the address of an OpenAI-compatible server (`http://…/v1`), or `transformers` (in this process, slower;
    adapters of every kind, docs/training.md)."""
    ram: ByteSize | None = Field(default=None, gt=0)
    """Memory that the whole team may take in this process: `3GB`. Where its bases do not fit together, their engines
    are open in turn; where not even one does, the team does not start. `metier doctor` tells what it needs. Left out:
    no limit."""
    server: ServerCard = ServerCard()
    specialists: list[str] = Field(min_length=1)
    """Folders that hold a specialist.yaml, relative to team.yaml."""
    router: RouterCard = RouterCard()
    budget: BudgetCard = BudgetCard()
    memory: MemoryCard = MemoryCard()
    retention: RetentionCard = RetentionCard()
    policy: TeamRules = TeamRules()
    guardrails: list[str] = Field(default_factory=lambda: ["length", "injection"])
    """Checks before and after, by name."""
    abstain_below: float | None = Field(default=None, ge=0, le=1)
    """Specialists refuse to answer below this confidence. Left out: what suits the style."""
    access: dict[str, list[Group]] = Field(default_factory=dict)
    """Documents that only users of one of some groups may see: `hr/salaries: [hr, board]`. A file or folder as answers
    name it, or a pattern in which `*` stands for anything; where several fit, each must be met. Who may ask whom stands
    on the specialists' cards (`groups`)."""
    limits: LimitsCard = LimitsCard()

    @property
    def served(self) -> bool:
        """Whether a server runs the base."""
        return "://" in self.engine

    @model_validator(mode="after")
    def _a_server_is_at_an_address(self) -> TeamCard:
        if self.server != ServerCard() and not self.served:
            raise ValueError(f"`server` is for an engine at an address (http://…/v1); this one's is '{self.engine}'")
        return self

    @model_validator(mode="after")
    def _no_specialist_twice(self) -> TeamCard:
        twice = {s for s in self.specialists if self.specialists.count(s) > 1}
        if twice:
            raise ValueError(f"listed twice: {', '.join(sorted(twice))}")
        return self


STATE = ".metier"
"""The folder beside team.yaml that holds everything built; it can be deleted at any time."""

_MERGED_ON = ("auto", "openvino", "llama")


@dataclass(frozen=True)
class Blueprint:
    """Cards that fit together. Made by `read` (YAML) or `of` (Python)."""

    card: TeamCard
    specialists: dict[str, SpecialistCard]
    folders: dict[str, Path]
    """Where the paths of each specialist's card start."""
    root: Path
    """Where the paths of the team's card start."""

    def base_of(self, name: str) -> str:
        """The base of a specialist: its own, or the team's."""
        return self.specialists[name].model.base or self.card.base

    @property
    def bases(self) -> list[str]:
        """The bases that specialists work with, each once."""
        return list(dict.fromkeys(map(self.base_of, self.specialists)))

    @property
    def state(self) -> Path:
        """Folder of everything that is built."""
        return self.root / STATE

    @property
    def published(self) -> Path | None:
        """The folder in which the model server finds adapters; None where it has its own, or there is no server."""
        return self.root / self.card.server.publish if self.card.server.publish else None

    @property
    def registry(self) -> Registry:
        """The versions of the specialists' adapters; beside team.yaml, for they cannot be built again at no cost."""
        return Registry(self.root / "registry")

    @classmethod
    def read(cls, folder: Path | str) -> Blueprint:
        """The team in `folder/team.yaml` (or in the YAML file of that name).

        Raises:
            ConfigError: a file is missing or wrong, or the cards do not fit together.
        """
        path = Path(folder)
        path = path / "team.yaml" if path.is_dir() or not path.suffix else path
        if not path.exists():
            raise ConfigError(f"no team here: {path} does not exist", hint=f"metier init {path.parent}")
        card = load_yaml(path, TeamCard)
        root = path.parent.resolve()
        files = [root / name / "specialist.yaml" for name in card.specialists]
        missing = [f for f in files if not f.is_file()]
        if missing:
            raise ConfigError(
                f"'{missing[0].parent.name}' has no {missing[0].name}",
                file=path,
                field="specialists",
                hint=f"folders with one: {', '.join(sorted(p.parent.name for p in root.glob('*/specialist.yaml')))}",
            )
        cards = [load_yaml(f, SpecialistCard, partial(_check_card, card, [f.parent, root])) for f in files]
        return cls.of(card, cards, root, [f.parent for f in files])

    @classmethod
    def of(
        cls,
        card: TeamCard,
        specialists: Sequence[SpecialistCard],
        root: Path,
        folders: Sequence[Path] | None = None,
    ) -> Blueprint:
        """A team from cards; paths in the specialists' cards start at `root` unless `folders` says otherwise.

        Raises:
            ConfigError: two specialists share a name, a hand-off goes to nobody, or the engine cannot run one of them.
        """
        places = folders or [root] * len(specialists)
        for specialist, place in zip(specialists, places, strict=True):
            _check_card(card, [place, root], specialist)
        named = {s.name: s for s in specialists}
        if len(named) < len(specialists):
            twice = sorted({s.name for s in specialists if [t.name for t in specialists].count(s.name) > 1})
            raise ConfigError(f"two specialists are called {', '.join(twice)}", field="specialists")
        for specialist in specialists:
            others = [name for name in named if name != specialist.name]
            for handoff in specialist.handoffs:
                if handoff.to not in others:
                    raise ConfigError(
                        unknown("specialist", handoff.to, others), field=f"{specialist.name}: handoffs.to"
                    )
            if specialist.model.merged and card.engine not in _MERGED_ON:
                raise ConfigError(
                    f"merged models run on the engines {', '.join(_MERGED_ON)}; this team's is '{card.engine}'",
                    field=f"{specialist.name}: model.merged",
                    hint="leave it out; what `metier registry merge` writes, a server can run as a model of its own",
                )
        return cls(card, named, dict(zip(named, places, strict=True)), root)

    def hides(self, source: str, groups: Collection[str]) -> bool:
        """Is a document none for somebody of these groups?"""
        rules = [allowed for pattern, allowed in self.card.access.items() if _fits(source, pattern)]
        return any(set(groups).isdisjoint(allowed) for allowed in rules)

    def seen_by(self, groups: Collection[str]) -> Blueprint:
        """The cards that somebody of these groups may know of: other specialists are not there, nor hand-offs to them.

        It is for working with; what is built is built from the whole.
        """
        cards = {n: c for n, c in self.specialists.items() if not c.groups or not set(groups).isdisjoint(c.groups)}
        if len(cards) == len(self.specialists):
            return self
        known = {
            name: card.model_copy(update={"handoffs": [handoff for handoff in card.handoffs if handoff.to in cards]})
            for name, card in cards.items()
        }
        return replace(self, card=self.card.model_copy(update={"specialists": [*known]}), specialists=known)

    def tasks(self, name: str) -> list[str]:
        """The example tasks of a specialist."""
        return read_tasks(self.specialists[name].examples, self.folders[name])

    def example_rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a specialist's example files."""
        files = [self.folders[name] / entry for entry in self.specialists[name].examples if entry.endswith(".jsonl")]
        return [row for file in files for row in read_jsonl(file)]

    def style(self, name: str) -> Style:
        """How a specialist answers."""
        return find_style(self.specialists[name].style, [self.folders[name], self.root])

    def outside(self) -> list[str]:
        """Tasks that nobody on the team should answer."""
        return read_tasks(self.card.router.outside, self.root)


def _check_card(team: TeamCard, folders: Sequence[Path], card: SpecialistCard) -> None:
    """Does a card fit its style, and the team's engine and base? Raises ConfigError, which names the field."""
    check_card(card, folders)
    base = card.model.base or team.base
    if not team.served:
        check_adapter_base(card, folders[0], base)
    elif base != team.base:
        raise ConfigError(
            f"a base of its own, '{base}', needs an engine in this process; a server runs this team's, '{team.base}'",
            field="model.base",
            hint="leave it out, or leave `engine` out of team.yaml",
        )


def _fits(source: str, pattern: str) -> bool:
    """Upper and lower case are alike: a rule that is a letter off must not leave a document open."""
    name, wanted = source.casefold(), pattern.casefold().removeprefix("./").rstrip("/")
    return fnmatchcase(name, wanted) or fnmatchcase(name, f"{wanted}/*")


def blueprint_at(team: Blueprint | Path | str) -> Blueprint:
    """The blueprint itself, or the one that is read from a team's folder.

    Raises:
        ConfigError: a file is missing or wrong, or the cards do not fit together.
    """
    return team if isinstance(team, Blueprint) else Blueprint.read(team)


def read_tasks(entries: Sequence[str], folder: Path) -> list[str]:
    """Example tasks: each entry is a task itself, or a `.jsonl` file whose rows have an `input`.

    Raises:
        ConfigError: a file is missing, or a row has no `input`; names file and line.
    """
    tasks: list[str] = []
    for entry in entries:
        tasks += read_jsonl(folder / entry, _input_of) if entry.endswith(".jsonl") else [entry]
    return tasks


def _input_of(row: dict[str, Any]) -> str:
    if not isinstance(row.get("input"), str):
        raise ConfigError("row without an 'input' text")
    return row["input"]


def fingerprint(*parts: Any) -> str:
    """A short hash (12 hex digits) of JSON-like values; the same values give the same hash on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

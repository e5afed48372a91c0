"""The card: what a specialist is, in one file (`specialist.yaml`). Only values; nothing is loaded here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[a-z][a-z0-9_-]{0,40}$"
"""Names are used in URLs, model ids, file names and grammars, so they are plain."""


Group = Annotated[str, Field(pattern=r"^[\w][\w.@-]{0,63}$")]
"""Name of a group of users."""


class Section(BaseModel):
    """Base of every part of a card: unknown fields are errors, a docstring stands under each field."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class KnowledgeCard(Section):
    """The retrieval back-end of a specialist."""

    sources: list[str] = Field(default_factory=list)
    """Files and folders, relative to the card. Folders are read recursively."""
    top_k: int = Field(default=3, ge=1, le=50)
    """Passages that the model sees."""
    passage_tokens: int = Field(default=160, ge=32, le=1024)
    """About how long a passage is, in words and punctuation marks."""
    rerank: bool = True
    """Compare the best of what was found with the question word by word, and order it by that, too. Only
    multilingual-e5-small can; it takes a fraction of a second."""
    readers: dict[str, str] = Field(default_factory=dict)
    """More kinds of files: suffix (`.epub`) to `module:Class` of a llama-index file reader."""
    backend: str = "faiss"
    """Where vectors are: `faiss` (in this process), `qdrant` or `pgvector` (docs/scale.md; extras of these names), or
    `module:Class` of any llama-index vector store."""
    backend_options: dict[str, Any] = Field(default_factory=dict)
    """For `qdrant`: `collection`, and `url` or `path`; for `pgvector`: `table`, `url`; else what the class takes."""


class ModelCard(Section):
    """Which language model answers. Everything left out comes from the team."""

    base: str | None = None
    """A base of its own, a name of `metier models list`; left out: the team's. Specialists with the same base share an
    engine, each further base takes memory (`ram` in team.yaml). Not where a server runs the base."""
    adapter: str | None = None
    """A LoRA: a path relative to the card, the name of a shipped skill, or `none`. Left out: the skill of the style.
    Where a server runs the base: the adapter's name there; left out: none."""
    merged: bool = False
    """Merge the adapter into a copy of the base that only this specialist uses: faster, for a second base's memory.
    Not with a server or `engine: transformers`."""
    max_tokens: int = Field(default=160, ge=1)
    """Longest answer, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the most probable token each time."""


class RouteCard(Section):
    """Rules that win over the trained router, as regular expressions on the task (case does not matter)."""

    always: list[str] = Field(default_factory=list)
    """Tasks that match one of these are this specialist's."""
    never: list[str] = Field(default_factory=list)
    """Tasks that match one of these are not."""


class HandoffCard(Section):
    """A colleague that may take over."""

    to: str = Field(pattern=NAME)
    """The colleague's name."""
    when: str | None = None
    """Regular expression: when it matches the task, the task goes there at once, with what was found.
    Left out: the task goes there only when this specialist cannot answer."""


class SpecialistCard(Section):
    """A specialist: one trade, done well."""

    name: str = Field(pattern=NAME)
    """Also its name for the router, in hand-offs, and as a model id for API clients."""
    description: str = Field(min_length=10)
    """What it knows and does, in a sentence or two. The router learns from it."""
    style: str = "answer"
    """How it answers: `answer`, `quote`, `free`, `label`, `json`, `act`, `sql`, or `module:STYLE` of your own."""
    instructions: str = ""
    """Added to the style's own instructions. Short ones work best with small models."""
    knowledge: KnowledgeCard | None = None
    """Its documents; left out: it has none."""
    model: ModelCard = ModelCard()
    labels: list[str] = Field(default_factory=list)
    """The answers to choose from, for `style: label`."""
    output_schema: dict[str, Any] | None = None
    """JSON Schema of the answer, for `style: json`."""
    examples: list[str] = Field(default_factory=list)
    """Tasks that belong here, or `.jsonl` files of them (`{"input": …, "answer": …}`), relative to the card."""
    route: RouteCard = RouteCard()
    handoffs: list[HandoffCard] = Field(default_factory=list)
    """Colleagues to whom it may pass a task on."""
    tools: list[str | dict[str, Any]] = Field(default_factory=list)
    """Tools that it may use, for `style: act` and for steps of workflows: a name (`calculator`), a name with options
    (`{use: sql, database: …}`), or `module:attribute` of any LangChain tool."""
    database: str | None = None
    """What `style: sql` asks: a `.sqlite` or `.csv` file or a folder of CSV files, relative to the card and inside
    the team's folder, or `env:NAME` of a PostgreSQL address. Of the examples that have `sql` beside their `input`, the
    model is shown those that are like the task."""
    abstain_below: float | None = Field(default=None, ge=0, le=1)
    """Refuse below this confidence. Left out: the team's value."""
    evaluation: str | None = None
    """Questions with reference answers (`.jsonl`), relative to the card; never used for training."""
    groups: list[Group] = Field(default_factory=list)
    """Only users of one of these groups may ask it, or learn that there is it. Left out: everybody."""

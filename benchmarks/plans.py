"""One specialist against a plan, on tasks with several steps.

`python benchmarks/plans.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR] [--base NAME]`, and
`[--model]` for the systems that need a language model (minutes to hours on two cores).

- `route_assetops`: are the right agents chosen (`agents_right`), are several found where several are needed
  (`several_recall`) and only there (`split_wrongly`), and do data come before what uses them (`legal_order`)?
- `multihop_hotpot`: are both passages found among all passages of the set (`both_at_3`), and with `--model` the answer
  (`f1`, `exact`)?
- `bank_tau2`: how many of the documents that a customer's case needs are found (`recall`), with ten passages?
- `team_workbench`: the tables afterwards are those that the right calls leave (`outcome_match`, and `…_acting` for the
  tasks in which something is to be done), beside `did_nothing`, which leaves the tables as they are.

Every system is shown with what it costs: model calls, tokens and seconds a task. Rows with an even place in the file
were looked at while this was built, those with an odd place were not: the sets `…_seen` and `…_unseen`; of
`team_workbench`, every second template.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple, cast

import numpy as np
from harness import Report, parser, progress, read_set, read_training, wanted
from langchain_core.utils.function_calling import convert_to_openai_tool
from office import NOW, Office

from metier.agents.workflows.planner import Planner, writer
from metier.core.embedding import Embedder
from metier.core.errors import MetierError
from metier.core.files import read_jsonl
from metier.core.models import ModelStore
from metier.core.onnx_embedder import load_embedder
from metier.core.text import sentences
from metier.core.types import Brief, Budget, Passage, Usage
from metier.router.features import Example
from metier.router.router import Router
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines import open_engine
from metier.specialists.engines.engine import Engine
from metier.specialists.knowledge import Knowledge
from metier.specialists.knowledge.bridge import bridge
from metier.specialists.knowledge.knowledge import merged
from metier.specialists.specialist import Specialist
from metier.specialists.styles.act.records import do_records
from metier.specialists.styles.act.shown_tools import ToolShortlist
from metier.specialists.styles.act.style import Calling
from metier.tools.session import SpecialistTools

FOLDS = 7


class Cost(NamedTuple):
    """What one task took."""

    seconds: float
    usage: Usage = Usage()


class Bench:
    """What the sets share; a language model is only opened where one is asked."""

    def __init__(self, args: Namespace) -> None:
        self.args, self.store = args, ModelStore()
        self.embedder: Embedder = load_embedder("multilingual-e5-small", self.store)
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The base, without an adapter."""
        if self._engine is None:
            self._engine = open_engine("auto", self.store.find(self.args.base), {}, folders=[])
        return self._engine

    def close(self) -> None:
        """Free the model."""
        if self._engine is not None:
            self._engine.close()


def add_cost(report: Report, name: str, system: str, costs: Sequence[Cost]) -> None:
    """Calls, tokens and seconds a task."""
    report.add(name, system, "seconds", [cost.seconds for cost in costs])
    report.add(name, system, "calls", [cost.usage.calls for cost in costs])
    report.add(name, system, "tokens", [cost.usage.input_tokens + cost.usage.output_tokens for cost in costs])


def halves(
    report: Report, name: str, system: str, metric: str, rows: Sequence[dict[str, Any]], scores: Sequence[Any]
) -> None:
    """A figure over all rows, and over those that were looked at and those that were not."""
    report.add(name, system, metric, scores)
    for half, wanted_place in (("seen", 0), ("unseen", 1)):
        some = [score for row, score in zip(rows, scores, strict=True) if row["place"] % 2 == wanted_place]
        if some:
            report.add(f"{name}_{half}", system, metric, some)


def rows_of(args: Namespace, name: str) -> list[dict[str, Any]]:
    """The scored rows, each with its place in the file."""
    places = {row["id"]: place for place, row in enumerate(read_jsonl(args.data / f"{name}.jsonl"))}
    return [{**row, "place": places[row["id"]]} for row in read_set(args, name)]


# route_assetops: who is asked, in which order.

SEVERAL = "multi"
AGENTS = {
    "IoT": "Sites, assets and their sensors; sensor readings of a time, as a file.",
    "FMSR": "Failure modes of assets, and which sensors show which failure.",
    "TSFM": "Time-series models over a data file: forecasts, anomalies, fine-tuning; which models and tasks there are.",
    "WorkOrder": "Work orders, alerts, events and failure codes: history, recommendations, new orders.",
}
"""In the order in which they can work: readings come before what is computed from them, and orders last."""

Chosen = Callable[[str], tuple[Sequence[str], Usage]]
"""Task → agents in order, and what the choice cost."""


def score_assetops(report: Report, bench: Bench, args: Namespace) -> None:
    """Are the right agents asked, in an order that can work?"""
    rows = rows_of(args, "route_assetops")
    ids = {row["id"] for row in rows}
    training = [row for row in read_training(args, "route_assetops") if row["id"] not in ids]
    pairs = [(training, rows)] if training else list(_cross(rows, args.seed))
    systems = ["single", "rules", "several as a choice", *(["base writes"] if args.model else [])]
    for system in systems:
        scored: list[tuple[dict[str, Any], Sequence[str]]] = []
        costs: list[Cost] = []
        for train, test in pairs:
            choose = _chooser(system, train, bench)
            for row in progress(test, f"route_assetops · {system}"):
                start = perf_counter()
                agents, usage = choose(row["input"])
                costs.append(Cost(perf_counter() - start, usage))
                scored.append((row, agents))
        _add_agents(report, system, scored)
        add_cost(report, "route_assetops", system, costs)


def _cross(rows: list[dict[str, Any]], seed: int) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    order = np.random.default_rng(seed).permutation(len(rows))
    for fold in range(min(FOLDS, len(rows))):
        test = {int(i) for i in order[fold::FOLDS]}
        yield [r for i, r in enumerate(rows) if i not in test], [rows[i] for i in sorted(test)]


def _chooser(system: str, train: Sequence[dict[str, Any]], bench: Bench) -> Chosen:
    if system == "base writes":
        write = writer(cast(Engine, _Counted(bench.engine)), AGENTS)

        def written(task: str) -> tuple[Sequence[str], Usage]:
            pieces = write(task)
            return list(dict.fromkeys(piece.ask for piece in pieces)), _Counted.last

        return written
    known = [row for row in train if row["answer"] != SEVERAL or system == "several as a choice"]
    examples = [Example(text=row["input"], label=row["answer"]) for row in known]
    router = Router.fit(examples, embedder=bench.embedder, descriptions=AGENTS, false_refusal=0.0)

    def routed(task: str) -> tuple[Sequence[str], Usage]:
        route = router.route(task)
        chosen = list(dict.fromkeys(part.specialist for part in route.parts))
        if system == "rules" and (found := Planner(router.route).decompose(task)):
            chosen = list(dict.fromkeys(filter(None, (router.route(piece.task).choice for piece in found.pieces))))
        if SEVERAL in chosen:
            both = [choice.name for choice in route.choices if choice.name in AGENTS][:2]
            chosen = sorted(both, key=list(AGENTS).index)
        return chosen, Usage()

    return routed


class _Counted:
    """An engine whose calls are counted."""

    last = Usage()

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def chat(self, *args: Any, **kwargs: Any) -> Any:
        chat = self._engine.chat(*args, **kwargs)

        class Chat:
            def invoke(self, *given: Any, **options: Any) -> Any:
                reply = chat.invoke(*given, **options)
                spent = reply.usage_metadata or {}
                _Counted.last = Usage(
                    input_tokens=spent.get("input_tokens", 0), output_tokens=spent.get("output_tokens", 0), calls=1
                )
                return reply

        return Chat()


def _add_agents(report: Report, system: str, scored: Sequence[tuple[dict[str, Any], Sequence[str]]]) -> None:
    rows = [row for row, _ in scored]
    right = [len(a) > 1 if row["answer"] == SEVERAL else list(a) == [row["answer"]] for row, a in scored]
    halves(report, "route_assetops", system, "agents_right", rows, right)
    several = [len(agents) > 1 for row, agents in scored if row["answer"] == SEVERAL]
    report.add("route_assetops", system, "several_recall", several)
    report.add("route_assetops", system, "split_wrongly", [len(a) > 1 for row, a in scored if row["answer"] != SEVERAL])
    planned = [list(agents) for _, agents in scored if len(agents) > 1]
    if planned:
        ordered = [agents == sorted(agents, key=list(AGENTS).index) for agents in planned]
        report.add("route_assetops", system, "legal_order", ordered)


# multihop_hotpot: the second search uses what the first found.


def score_hotpot(report: Report, bench: Bench, args: Namespace) -> None:
    """All paragraphs of the set are one specialist's documents; are both that a question needs among three?"""
    rows = rows_of(args, "multihop_hotpot")
    everything = read_jsonl(args.data / "multihop_hotpot.jsonl")
    with TemporaryDirectory() as folder, closing(_hotpot_knowledge(Path(folder), everything, bench.embedder)) as known:
        for system, search in _searches(known):
            for k in (3, 6):
                needed = [{_file(title) for title in row["meta"]["support"]} for row in rows]
                start = perf_counter()
                found = [{Path(p.source).name for p in search(row["input"], k)} for row in rows]
                spent = (perf_counter() - start) / len(rows)
                both = [want <= have for want, have in zip(needed, found, strict=True)]
                halves(report, "multihop_hotpot", system, f"both_at_{k}", rows, both)
                report.add_value("multihop_hotpot", system, f"search_s_at_{k}", spent, len(rows))


def _hotpot_knowledge(folder: Path, rows: Sequence[dict[str, Any]], embedder: Embedder) -> Knowledge:
    documents = folder / "documents"
    documents.mkdir()
    for title, text in {title: text for row in rows for title, text in row["context"]}.items():
        plain = text if isinstance(text, str) else " ".join(text)
        (documents / _file(title)).write_text(f"# {title}\n\n{plain}\n", encoding="utf-8")
    return Knowledge.build([documents], folder / "index", embedder, KnowledgeCard())


def _file(title: str) -> str:
    return re.sub(r"\W+", "_", title)[:60] + ".md"


def _searches(known: Knowledge) -> list[tuple[str, Callable[[str, int], Sequence[Passage]]]]:
    quick = partial(known.search, rerank=False)
    return [("single", known.search), ("plan", lambda question, k: bridge(known.search, question, k, quick))]


# bank_tau2: what a customer's case needs to be known.


def score_bank(report: Report, bench: Bench, args: Namespace) -> None:
    """One search with all that the customer says against one a sentence, and against a second that uses the first."""
    rows = rows_of(args, "bank_tau2")
    with TemporaryDirectory() as folder, closing(_bank_knowledge(Path(folder), args, bench.embedder)) as known:
        for system, search in (("single", known.search), ("plan", _by_sentence(known))):
            start = perf_counter()
            found = [{Path(p.source).stem for p in search(_wish(row["input"]), 10)} for row in progress(rows, system)]
            spent = (perf_counter() - start) / len(rows)
            needed = [set(row["meta"]["required_documents"]) for row in rows]
            recall = [len(want & have) / len(want) if want else 1.0 for want, have in zip(needed, found, strict=True)]
            halves(report, "bank_tau2", system, "recall_at_10", rows, recall)
            report.add_value("bank_tau2", system, "seconds", spent, len(rows))


def _bank_knowledge(folder: Path, args: Namespace, embedder: Embedder) -> Knowledge:
    documents = folder / "documents"
    documents.mkdir()
    for row in read_jsonl(args.data / "backends" / "bank_tau2" / "documents.jsonl"):
        text = f"# {row['title']}\n\n{row['content']}\n"
        (documents / f"{row['id']}.md").write_text(text, encoding="utf-8")
    return Knowledge.build([documents], folder / "index", embedder, KnowledgeCard())


def _wish(instruction: str) -> str:
    """What the simulated customer is told, without how to play the role."""
    return re.sub(r"(?i)you are playing[^.]*\.|you are currently on the line[^.]*\..*", " ", instruction).strip()


def _by_sentence(known: Knowledge) -> Callable[[str, int], Sequence[Passage]]:
    def search(text: str, k: int) -> Sequence[Passage]:
        best: dict[str, Passage] = {}
        for passage in merged(*(known.search(sentence, 3) for sentence in sentences(text))):
            best.setdefault(passage.id, passage)
        return [*best.values()][:k]

    return search


# team_workbench: look up, then act.

WHOLE_TASK = Budget(steps=60, tokens=100_000, seconds=3600)


def score_office(report: Report, bench: Bench, args: Namespace) -> None:
    """The tables afterwards are those that the right calls leave. `plan` is the style `act` as it is, which reads what
    it can out of the task and the tools; what it cannot, it would leave to the model, and here to nobody."""
    rows = rows_of(args, "team_workbench")
    folder, shortlist = args.data / "backends" / "team_workbench", ToolShortlist(bench.embedder, 4)
    templates = sorted({row["meta"]["template"] for row in read_jsonl(args.data / "team_workbench.jsonl")})
    rows = [{**row, "place": templates.index(row["meta"]["template"])} for row in rows]
    blank = Office(folder).state()
    right, nothing, understood = list[bool](), list[bool](), list[bool]()
    costs = list[Cost]()
    for row in progress(rows, "team_workbench"):
        gold, office = Office(folder), Office(folder)
        gold.do(row["answer"])
        start = perf_counter()
        understood.append(_by_reading(row["input"], office, shortlist))
        costs.append(Cost(perf_counter() - start))
        right.append(office.state() == gold.state())
        nothing.append(blank == gold.state())
    acting = [bool(row["answer"]) for row in rows]
    for system, scores in (("did_nothing", nothing), ("plan", right)):
        halves(report, "team_workbench", system, "outcome_match", rows, scores)
        some = [row for row, acts in zip(rows, acting, strict=True) if acts]
        halves(
            report, "team_workbench", system, "outcome_match_acting", some,
            [score for score, acts in zip(scores, acting, strict=True) if acts],
        )  # fmt: skip
    report.add("team_workbench", "plan", "understood", understood)
    done = [score for score, read in zip(right, understood, strict=True) if read]
    if done:
        report.add("team_workbench", "plan", "right_where_understood", done)
    add_cost(report, "team_workbench", "plan", costs)
    if args.model:
        _add_single(report, bench, rows, folder)


def _by_reading(task: str, office: Office, shortlist: ToolShortlist) -> bool:
    tools = {tool.name: tool for tool in office.tools}
    functions = [convert_to_openai_tool(tool)["function"] for tool in office.tools]
    reading, done = do_records(task, functions, shortlist, datetime.fromisoformat(NOW)), None
    while True:
        try:
            call = next(reading) if done is None else reading.send(done)
        except StopIteration as end:
            return bool(end.value)
        try:
            done = call.model_copy(update={"result": str(tools[call.name].invoke(call.arguments))})
        except MetierError as error:
            done = call.model_copy(update={"error": error.message})


def _add_single(report: Report, bench: Bench, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """One specialist of the style `act` with the untrained base, call after call."""
    card = SpecialistCard(name="office", description="Works in the office.", style="act", tools=["benchmark"],
                          instructions=f"Now is {NOW}, a Thursday.", abstain_below=0.0)  # fmt: skip
    right, costs = list[bool](), list[Cost]()
    for row in progress(rows, "team_workbench · single"):
        gold, office = Office(folder), Office(folder)
        gold.do(row["answer"])
        calling = Calling(ToolShortlist(bench.embedder), reads=False)
        one = Specialist(card, bench.engine, tools=SpecialistTools(office.tools), resources=calling)
        start = perf_counter()
        outcome = one.run(Brief(task=row["input"], budget=WHOLE_TASK))
        costs.append(Cost(perf_counter() - start, outcome.usage))
        right.append(office.state() == gold.state())
    halves(report, "team_workbench", "single", "outcome_match", rows, right)
    acting = [score for score, row in zip(right, rows, strict=True) if row["answer"]]
    if acting:
        report.add("team_workbench", "single", "outcome_match_acting", acting)
    add_cost(report, "team_workbench", "single", costs)


SETS: dict[str, Callable[[Report, Bench, Namespace], None]] = {
    "route_assetops": score_assetops,
    "multihop_hotpot": score_hotpot,
    "bank_tau2": score_bank,
    "team_workbench": score_office,
}


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--base", default="qwen2.5-coder-0.5b", help="which base, for --model")
    arguments.add_argument("--model", action="store_true", help="also what needs a language model")
    args = arguments.parse_args()
    report = Report(args)
    with closing(Bench(args)) as bench:
        for name in wanted(args, SETS):
            SETS[name](report, bench, args)
    report.finish()


if __name__ == "__main__":
    main()

"""Sums over quoted figures: what a question wants computed, which figures count, and that doubt computes nothing."""

from __future__ import annotations

import pytest

from metier import Answer, Brief, Specialist
from metier.core.embedding import Embedder
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.engine import Quote
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.knowledge import Knowledge
from metier.specialists.styles.calculation.asked import derived
from metier.specialists.styles.calculation.figures import figures_of

HARBOUR = """# Harbour

## Berths

A berth costs GBP 1,240.50 a month in the inner harbour and GBP 980.00 a month in the outer harbour. The deposit is
GBP 300. A visitor pays 18 euros a night.

## Cranes

| Crane | Lifts up to | Price (GBP) |
|---|---|---|
| C-1 | 12 t | 85.00 |
| C-2 | 40 t | 230.00 |

Since 14 March 2024 crane C-2 works from 07:00 on.
"""


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Knowledge:
    folder = tmp_path_factory.mktemp("harbour")
    (folder / "harbour.md").write_text(HARBOUR)
    return Knowledge.build([folder], folder / "index", embedder, KnowledgeCard(), root=folder)


def asked(knowledge: Knowledge, task: str, *script: str) -> tuple[Answer, ScriptedEngine]:
    engine = ScriptedEngine(script)
    card = SpecialistCard(
        name="harbour", description="Berths and cranes of the harbour.", style="answer", knowledge=KnowledgeCard()
    )
    answer = Specialist(card, engine, knowledge, abstain_below=0.0).run(Brief(task=task))
    assert isinstance(answer, Answer)
    return answer, engine


def test_a_difference_is_computed_and_shown_with_both_figures_cited(knowledge: Knowledge) -> None:
    task = "How much more does a berth cost in the inner harbour than in the outer harbour?"
    answer, engine = asked(knowledge, task, "GBP 1,240.50", "GBP 980.00")
    assert answer.text == "GBP 260.50\nGBP 1,240.50 − GBP 980.00 = GBP 260.50"
    assert [citation.quote for citation in answer.citations] == ["GBP 1,240.50", "GBP 980.00"]
    assert [knowledge.text(c.source)[c.start : c.end] for c in answer.citations] == ["GBP 1,240.50", "GBP 980.00"]
    assert [(call.name, call.result) for call in answer.tool_calls] == [("calculate", "260.5")]
    assert "in the outer harbour" in engine.calls[1].messages[-1].text.rpartition("Question:")[2]


def test_only_figures_of_the_passages_may_be_said(knowledge: Knowledge) -> None:
    _, engine = asked(knowledge, "What do the cranes C-1 and C-2 cost together?", "85.00", "230.00")
    shape = engine.calls[0].constraint
    assert isinstance(shape, Quote)
    assert {"85.00", "12 t"} <= set(shape.texts)
    assert not {"14 March", "07:00", "2024", "1"} & set(shape.texts)
    assert list(shape.alternatives) == ["not found"]


def test_a_price_list_gives_its_currency(knowledge: Knowledge) -> None:
    answer, _ = asked(knowledge, "What do the cranes C-1 and C-2 cost together?", "85.00", "230.00")
    assert answer.text == "GBP 315.00\n85.00 + 230.00 = GBP 315.00"


def test_so_many_times_a_rate(knowledge: Knowledge) -> None:
    answer, engine = asked(knowledge, "What does a visitor pay for three nights?", "18 euros")
    assert answer.text == "54 euros\n3 × 18 euros = 54 euros"
    shape = engine.calls[0].constraint
    assert isinstance(shape, Quote)
    assert list(shape.texts) == ["18 euros"]  # nothing else is for a night


def test_from_month_to_year(knowledge: Knowledge) -> None:
    answer, _ = asked(knowledge, "What does a berth in the outer harbour cost per year?", "GBP 980.00")
    assert answer.text == "GBP 11760.00\nGBP 980.00 × 12 = GBP 11760.00"


@pytest.mark.parametrize(
    "script",
    [
        ("not found", "18 euros"),  # a figure is not there
        ("GBP 1,240.50", "GBP 1,240.50", "18 euros"),  # the same one twice
        ("GBP 980.00", "GBP 1,240.50", "18 euros"),  # the other way round: less, where more was asked for
    ],
)
def test_in_doubt_nothing_is_computed(knowledge: Knowledge, script: tuple[str, ...]) -> None:
    task = "How much more does a berth cost in the inner harbour than in the outer harbour?"
    answer, _ = asked(knowledge, task, *script)
    assert not answer.tool_calls
    assert "=" not in answer.text


def test_a_question_without_a_sum_costs_no_call_more(knowledge: Knowledge) -> None:
    _, engine = asked(knowledge, "What is the deposit of a berth?", "GBP 300")
    assert len(engine.calls) == 1


def test_passages_without_figures_to_compare_cost_no_call_more(
    tmp_path_factory: pytest.TempPathFactory, embedder: Embedder
) -> None:
    folder = tmp_path_factory.mktemp("cats")
    (folder / "cats.md").write_text("# Cats\n\nTom is older than Jim. Tom weighs 5 kg.\n")
    cats = Knowledge.build([folder], folder / "index", embedder, KnowledgeCard(), root=folder)
    _, engine = asked(cats, "How much older is Tom than Jim?", "Tom is older than Jim.")
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    "task",
    [
        "What is the total liability of Norwick?",
        "What is the difference between forget and prune?",
        "Who buys things that cost more than 600 pounds?",
        "How many people have more than one account?",
        "How much more than 38 degrees is a fever?",
        "What is the cap on liability in total trade receivables and contract assets?",
        "How much of the costs of fiscal 2018 was for the relocation?",
        "Top 3 parts by price",
        "How much in total do I need to pay A and B?",
        "How many total meetings will I have between 2 and 5?",
        "What is the total cost that is not yet recognized as of December 31, 2019?",
        "How do I rinse the tank and hang up the paddles?",
    ],
)
def test_no_sum_is_seen_in(task: str) -> None:
    assert derived(task) is None


@pytest.mark.parametrize(
    ("task", "formula", "lookups"),
    [
        (
            "What is the average noise level of the compressor room and the boiler house?",
            "({0} + {1}) / 2",
            ("What is the noise level of the compressor room?", "What is the noise level of the boiler house?"),
        ),
        (
            "By how much is the fee of A-1 higher than that of A-2?",
            "{0} - {1}",
            ("How high is the fee of A-1?", "How high is the fee of A-2?"),
        ),
        (
            "How much longer is a double appointment than a routine one?",
            "{0} - {1}",
            ("How long is a double appointment?", "How long is a routine appointment?"),
        ),
        (
            "How much cheaper is the blue room than the red room?",
            "{1} - {0}",
            ("How much does the blue room cost?", "How much does the red room cost?"),
        ),
        (
            "What is the difference between the price of C-1 and the price of C-2?",
            "abs({0} - {1})",
            ("What is the price of C-1?", "What is the price of C-2?"),
        ),
        (
            "What is the price difference between C-1 and C-2?",
            "abs({0} - {1})",
            ("What is the price of C-1?", "What is the price of C-2?"),
        ),
        (
            "How much oil do the gearboxes of BW-3 and FL-2 take together?",
            "{0} + {1}",
            ("How much oil do the gearboxes of BW-3 take?", "How much oil do FL-2 take?"),
        ),
        (
            "How many percent is a room in Paris dearer than in Lyon?",
            "({0} - {1}) / {1} * 100",
            ("How much does a room in Paris cost?", "How much does a room in Lyon cost?"),
        ),
        (
            "How much less does a berth cost in the outer harbour than in the inner one?",
            "{1} - {0}",
            ("How much does a berth cost in the outer harbour?", "How much does a berth cost in the inner harbour?"),
        ),
        ("Was kosten C-1 und C-2 zusammen?", "{0} + {1}", ("Was kosten C-1?", "Was kosten C-2?")),
    ],
)
def test_what_is_looked_up(task: str, formula: str, lookups: tuple[str, ...]) -> None:
    found = derived(task)
    assert found
    assert (found.formula, found.lookups) == (formula, lookups)


def test_figures_have_units_and_dates_codes_and_list_numbers_are_none() -> None:
    text = (
        "4.2 A call costs GBP 118 per hour from 14 March 2024, 07:00 on.\n3. Use P-1001: 1,200\nlitres, 30 % of 5 °C."
    )
    figures = [(figure.quote, figure.kind.strip(), figure.rate) for figure in figures_of(text)]
    assert figures == [
        ("GBP 118", "gbp", "hour"),
        ("1,200\nlitres", "litre", ""),
        ("30 %", "percent", ""),
        ("5 °C", "°c", ""),
    ]

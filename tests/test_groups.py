"""Documents and specialists for some groups only: whoever is in none of them works with a team that has never heard of
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage
from pydantic import ValidationError

from metier.agents.build import changed_since_build
from metier.agents.cards import Blueprint, MemoryCard, TeamCard
from metier.agents.team import Team
from metier.core.errors import ConfigError, KnowledgeError, StateError
from metier.core.models import ModelStore
from metier.core.onnx_embedder import OnnxEmbedder
from metier.specialists.card import KnowledgeCard, SpecialistCard
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.functions import NO_CALL, write_call
from metier.specialists.knowledge.indexes import FaissIndex
from metier.specialists.knowledge.knowledge import Knowledge
from metier.tests.desk import script as desk_script
from metier.tests.vault import (
    ACCESS,
    HIDDEN,
    OPEN_QUESTION,
    OPEN_QUOTE,
    PAY_QUESTION,
    PAY_QUOTE,
    cards,
    open_vault,
    script,
)
from metier.tools.policy import Approve

STORES = ["faiss", "llama_index.core.vector_stores.simple:SimpleVectorStore"]


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, models: ModelStore) -> Iterator[Team]:
    with open_vault(tmp_path_factory.mktemp("vault")) as team:
        yield team


def test_whoever_is_in_the_group_gets_the_answer_and_others_a_team_without_it(vault: Team) -> None:
    told = vault.seen_by({"board"}).ask(PAY_QUESTION)
    assert PAY_QUOTE in told.text
    assert told.specialist == "people"
    for groups in [(), ("sales",), ("Board",), ("board ",)]:
        refused = vault.seen_by(groups).ask(PAY_QUESTION)
        assert not any(word in refused.model_dump_json() for word in HIDDEN), groups
        assert OPEN_QUOTE in vault.seen_by(groups).ask(OPEN_QUESTION).text
    assert PAY_QUOTE in vault.ask(PAY_QUESTION).text, "who has the team itself sees all of it"


def test_a_specialist_of_another_group_is_not_routed_to_named_or_drawn(vault: Team) -> None:
    outside = vault.seen_by(())
    assert [*outside.specialists] == ["house", "people"]
    route = outside.route("What does the merger with Larch cost?")
    assert "secrets" not in route.model_dump_json()
    assert "secrets" not in outside.router.explain("What does the merger with Larch cost?").model_dump_json()
    assert "secrets" not in str(outside.graph.get_graph().to_json())
    assert [h.to for h in outside.specialists["people"].card.handoffs] == []
    with pytest.raises(ConfigError, match=r"available: house, people$"):
        outside.ask("x", specialist="secrets")
    inside = vault.seen_by({"merger"})
    assert inside.route("What does the merger with Larch cost?").choice == "secrets"


def test_a_person_of_no_group_at_all_meets_a_team_that_knows_nothing(tmp_path: Path, models: ModelStore) -> None:
    card = SpecialistCard(
        name="only", description="Knows the only secret there is.", style="free", examples=["tell"], groups=["inner"]
    )
    with Team.of("closed", card, folder=tmp_path, engine=ScriptedEngine(script), guardrails=[]) as team:
        answer = team.seen_by(()).ask("tell")
        assert answer.kind == "abstain"
        assert "only" not in answer.model_dump_json()
        assert team.seen_by({"inner"}).ask("tell").specialist == "only"


def test_the_search_tool_finds_what_its_caller_may_see(tmp_path: Path, models: ModelStore) -> None:
    people = cards(tmp_path)[1].model_copy(update={"style": "act", "tools": ["search"], "handoffs": []})

    def look(messages: list[BaseMessage]) -> str:
        made = ") gave: " in messages[-1].text
        return NO_CALL if made else write_call("search_knowledge", {"query": "salary of the plant manager"})

    with Team.of(
        "t", people, folder=tmp_path, engine=ScriptedEngine(look), guardrails=[], access=ACCESS,
        memory=MemoryCard(facts="none"),
    ) as team:  # fmt: skip
        (call,) = team.seen_by({"board"}).ask("look it up", specialist="people").tool_calls
        assert PAY_QUOTE in call.result
        (call,) = team.seen_by(()).ask("look it up", specialist="people").tool_calls
        assert call.result
        assert PAY_QUOTE not in call.result


def test_what_waits_does_not_go_on_for_who_may_not_ask_any_more(tmp_path: Path, models: ModelStore) -> None:
    card = SpecialistCard(
        name="clerk", description="Pays and books orders.", style="act", tools=["metier.tests.shop:tools"],
        examples=["pay(7)"], abstain_below=0.0, groups=["cash"],
    )  # fmt: skip
    other = SpecialistCard(name="writer", description="Writes small stories.", style="free", examples=["write: x"])
    with Team.of(
        "till", card, other, folder=tmp_path, engine=ScriptedEngine(desk_script), policy={"ask": ["pay"]},
        guardrails=[], memory=MemoryCard(facts="none"),
    ) as team:  # fmt: skip
        waiting = team.seen_by({"cash"}).ask("pay(7)", thread_id="t", specialist="clerk")
        assert waiting.kind == "waiting"
        with pytest.raises(StateError):
            team.seen_by(()).resume("t", [Approve()])
        assert not (tmp_path / "done.txt").exists()
        assert team.seen_by({"cash"}).resume("t", [Approve()]).kind == "answer"
        assert (tmp_path / "done.txt").read_text().startswith("pay 7")


def test_groups_change_nothing_of_what_is_built(tmp_path: Path, models: ModelStore) -> None:
    with open_vault(tmp_path) as team:
        version = team.specialists["people"].version
        plan = team.blueprint
    opened = Blueprint.of(
        plan.card.model_copy(update={"access": {}}),
        [card.model_copy(update={"groups": []}) for card in plan.specialists.values()],
        plan.root,
    )
    assert changed_since_build(opened) == []
    with Team.load(opened, engine=ScriptedEngine(script)) as team:
        assert team.specialists["people"].version == version
        assert team.seen_by(()).specialists.keys() == {"house", "people", "secrets"}


def test_groups_and_patterns_are_checked() -> None:
    with pytest.raises(ValidationError):
        SpecialistCard(name="x", description="a description", groups=["two words"])
    plan = Blueprint.of(
        TeamCard(name="t", specialists=["x"], access={"hr/*/pay.md": ["hr"], "./HR/secret/": ["hr", "board"]}),
        [SpecialistCard(name="x", description="a description")],
        Path(),
    )
    hidden = ["hr/a/pay.md", "HR/A/PAY.MD", "hr/secret/x/y.md", "hr/Secret/z.md"]
    assert [plan.hides(source, ()) for source in hidden] == [True] * 4
    assert not any(plan.hides(source, ["hr"]) for source in hidden)
    assert not any(plan.hides(source, ()) for source in ["hr/secrets.md", "hr/pay.md", "x/hr/a/pay.md"])
    both = "hr/secret/pay.md"
    assert plan.hides(both, ["board"]), "each rule that fits must be met"


@pytest.fixture(scope="module", params=STORES, ids=["faiss", "llama-index"])
def index(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, embedder: OnnxEmbedder
) -> Iterator[Knowledge]:
    folder = tmp_path_factory.mktemp("index")
    for number in range(12):
        (folder / "docs").mkdir(exist_ok=True)
        text = f"# Report {number}\n\nThe turbine (TB{number}) of hall {number} turns {number}00 times.\n\nK{number}."
        (folder / "docs" / f"r{number}.md").write_text(text)
    card = KnowledgeCard(backend=request.param)
    built = Knowledge.build([folder / "docs"], folder / "index", embedder, card, root=folder)
    yield built
    built.close()


@settings(max_examples=40)
@given(
    seen=st.sets(st.integers(0, 11)),
    query=st.sampled_from(["turbine of hall 7", "K3", "report 11 turns 1100 times", "TB5", "reprot 4", "zzz"]),
    k=st.integers(1, 20),
)
def test_no_search_leaves_what_may_be_seen(index: Knowledge, seen: set[int], query: str, k: int) -> None:
    names = {f"docs/r{number}.md" for number in seen}
    part = index.only(names)
    found = part.search(query, k)
    assert {passage.source for passage in found} <= names
    assert len({passage.source for passage in found}) == len(names) or len(found) == k or query == "zzz"
    assert {document.source for document in part.documents()} == names
    assert len(part) == sum(document.passages for document in part.documents())
    for number in range(12):
        name = f"docs/r{number}.md"
        if name in names:
            assert part.text(name) == index.text(name)
        else:
            for look in (lambda name=name: part.text(name), lambda name=name: part.passage(f"{name}#0")):
                with pytest.raises(KnowledgeError):
                    look()
            assert part.passages(name) == []
            assert name not in " ".join(part.sample(50))


def test_what_is_seen_is_ranked_as_if_there_were_nothing_else(index: Knowledge) -> None:
    best = index.search("turbine of hall 7", 12)
    part = index.only({passage.source for passage in best[3:6]})
    assert [p.source for p in part.search("turbine of hall 7", 3)] == [p.source for p in best[3:6]]


def test_a_large_index_is_searched_among_what_may_be_seen() -> None:
    vectors = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.index_factory(16, "IVF64,SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    rows = np.arange(2000, dtype=np.int64) * 3
    few = rows[::400]
    found = FaissIndex(index, rows).only(few).nearest(vectors[7], 5)
    assert sorted(found) == few.tolist(), "all of the few are found, wherever they lie"

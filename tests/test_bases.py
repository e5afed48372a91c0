"""Specialists on bases of their own: who shares an engine, what fits which base, and a real team on two of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metier.agents.assemble import Runtime, find_bases, version_of
from metier.agents.build import build
from metier.agents.canary import open_trials
from metier.agents.cards import Blueprint, MemoryCard, RouterCard, TeamCard
from metier.agents.engines import in_gb, memory_need, open_engines
from metier.agents.evaluate import open_evaluation
from metier.agents.team import Team
from metier.agents.train import train
from metier.core.errors import ConfigError, InputError, UnknownModel
from metier.core.models import ModelStore
from metier.serving.doctor import Finding, check_team, needed_models
from metier.specialists.adapters.choose import find_skill
from metier.specialists.card import ModelCard, SpecialistCard
from metier.specialists.engines.pool import PooledEngine
from metier.tests.conftest import Run
from metier.tests.office import TINY
from metier.tests.shop import ByName, NoMeaning
from metier.tests.test_gate import peft_folder
from metier.tests.told import OPEN

DEFAULT = "qwen2.5-coder-0.5b"


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    assert OPEN == [], "a team closes its engines"


def card(name: str, base: Path | str | None = None, **more: Any) -> SpecialistCard:
    model = ModelCard(base=str(base) if base else None, **more.pop("model", {}))
    return SpecialistCard(name=name, description=f"The {name} of the house.", style="free", model=model, **more)


def files(folder: Path, *names: str) -> list[Path]:
    made = [folder / f"{name}.gguf" for name in names]
    for path in made:
        path.write_bytes(path.name.encode())
    return made


def plan_of(folder: Path, base: Path | str, *cards: SpecialistCard, **more: Any) -> Blueprint:
    team = TeamCard(
        name="house",
        base=str(base),
        engine="metier.tests.told:Told",
        specialists=[c.name for c in cards],
        router=RouterCard(log=False),
        memory=MemoryCard(checkpoints="none", facts="none"),
        guardrails=[],
        abstain_below=0.0,
        **more,
    )
    return Blueprint.of(team, cards, folder)


def opened(plan: Blueprint) -> Team:
    router = ByName([*plan.specialists], lambda _: None)
    return Team.load(plan, embedder=NoMeaning(), router=router)  # type: ignore[arg-type]


def test_specialists_with_one_base_share_its_engine_and_others_have_theirs(tmp_path: Path) -> None:
    one, two = files(tmp_path, "one", "two")
    plan = plan_of(tmp_path, one, card("ann"), card("bob", two), card("cat"), card("dan", two))
    assert plan.bases == [str(one), str(two)]
    with opened(plan) as team:
        assert [engine.base for engine in OPEN] == ["one", "two"]
        said = {name: team.ask("hello", specialist=name).text for name in plan.specialists}
        assert said == {name: f"so says {base}" for name, base in zip(said, ["one", "two"] * 2, strict=False)} | {
            "bob": "so says two",
            "cat": "so says one",
        }
        assert team.specialists["ann"].engine is team.specialists["cat"].engine is team.engine
        assert team.specialists["bob"].engine is team.specialists["dan"].engine


def test_a_base_that_nobody_works_with_is_not_loaded(tmp_path: Path) -> None:
    one, two = files(tmp_path, "one", "two")
    with opened(plan_of(tmp_path, one, card("ann", two))) as team:
        assert [engine.base for engine in OPEN] == ["two"]
        assert team.engine is OPEN[0], "what no specialist does has an engine all the same"


def test_the_version_of_a_specialist_goes_by_its_own_base(tmp_path: Path) -> None:
    one, two, three = files(tmp_path, "one", "two", "three")

    def versions(base: Path) -> dict[str, str]:
        plan = plan_of(tmp_path, base, card("ann"), card("bob", three))
        bases = find_bases(plan, ModelStore(tmp_path))
        return {name: version_of(plan, name, bases, None, None) for name in plan.specialists}

    before, after = versions(one), versions(two)
    assert before["ann"] != after["ann"]
    assert before["bob"] == after["bob"]
    three.write_bytes(b"changed")
    assert versions(two)["bob"] != after["bob"]


def test_an_engine_of_a_base_has_only_what_is_wanted_on_it(tmp_path: Path) -> None:
    one, two = files(tmp_path, "one", "two")
    plan = plan_of(tmp_path, one, card("ann"), card("bob", two), card("cat"))
    wanted = [("ann", "a.gguf"), ("bob", "b.gguf"), ("cat", None), ("ann", "a.gguf"), ("cat", "c.gguf")]
    with open_engines(plan, find_bases(plan, ModelStore(tmp_path)), wanted) as engines:
        assert {base: engine.adapters for base, engine in engines.items()} == {
            str(one): ("a.gguf", "c.gguf"),
            str(two): ("b.gguf",),
        }
    assert OPEN == []


def test_a_base_that_is_not_there_is_told(tmp_path: Path) -> None:
    (one,) = files(tmp_path, "one")
    with pytest.raises(UnknownModel, match=r"smolm2-135m.*did you mean 'smollm2-135m'"):
        opened(plan_of(tmp_path, one, card("ann"), card("bob", "smolm2-135m")))


# Cards: what fits which base.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A team on two bases in YAML, not built."""
    (tmp_path / "team.yaml").write_text(yaml.safe_dump({"name": "house", "specialists": ["ann", "bob"]}))
    for name, more in (("ann", {}), ("bob", {"style": "quote", "model": {"base": TINY}})):
        described = {"name": name, "description": f"Knows all that {name} knows.", **more}
        (tmp_path / name).mkdir()
        (tmp_path / name / "specialist.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return tmp_path


def rewrite(file: Path, **more: Any) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | more, sort_keys=False))


def test_the_skill_is_that_of_the_cards_base(folder: Path) -> None:
    plan = Blueprint.read(folder)
    assert (plan.base_of("ann"), plan.base_of("bob")) == (DEFAULT, TINY)
    assert needed_models(plan)[:2] == [DEFAULT, TINY]
    with_skill = open_adapters(plan)
    assert with_skill == {"ann": find_skill("general"), "bob": find_skill("quote")}


def open_adapters(plan: Blueprint) -> dict[str, Any]:
    from metier.agents.assemble import adapter_of

    return {name: adapter_of(plan, name) for name in plan.specialists}


def test_an_adapter_for_another_base_is_told_with_its_line(folder: Path) -> None:
    rewrite(folder / "bob" / "specialist.yaml", model={"base": TINY, "adapter": "general"})
    with pytest.raises(ConfigError) as told:
        Blueprint.read(folder)
    error = told.value
    assert (Path(str(error.file)).parent.name, error.line, error.field) == ("bob", 6, "model.adapter")
    assert f"'general' was made for the base '{DEFAULT}', this specialist's is '{TINY}'" in error.message
    assert "skills for it: call, label, quote, sql" in error.message
    assert f"`base: {DEFAULT}`" in (error.hint or "")
    rewrite(folder / "bob" / "specialist.yaml", model={"base": TINY, "adapter": "quote"})
    assert Blueprint.read(folder).base_of("bob") == TINY
    rewrite(folder / "bob" / "specialist.yaml", model={"adapter": "general"})
    assert open_adapters(Blueprint.read(folder))["bob"] == find_skill("general")


def test_a_base_of_its_own_needs_an_engine_in_this_process(folder: Path) -> None:
    rewrite(folder / "team.yaml", engine="http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match=f"'{TINY}', needs an engine in this process") as told:
        Blueprint.read(folder)
    assert told.value.field == "model.base"
    assert told.value.line == 5


def test_an_adapter_goes_by_the_base_that_it_was_made_for(folder: Path, run: Run, tmp_path: Path) -> None:
    made = peft_folder(tmp_path / "peft", 0.001)
    assert run("registry", "import", "bob", made, "-t", folder).code == 0
    assert run("registry", "promote", "bob", "-t", folder).code == 0
    plan = Blueprint.read(folder)
    version = plan.registry.find("bob", "champion")
    assert version.record["base"]["name"] == TINY
    assert open_adapters(plan)["bob"] == version.path
    rewrite(folder / "bob" / "specialist.yaml", model={"base": DEFAULT})
    other = Blueprint.read(folder)
    assert open_adapters(other)["bob"] == find_skill("general"), "a champion for another base is left aside"
    other.registry.rollback("bob", "a test")
    with open_trials(other) as trials, pytest.raises(InputError, match=f"another base than {DEFAULT}"):
        trials.start("bob", version.id)


def test_one_adapter_is_not_trained_for_two_bases(tmp_path: Path, folder: Path, models: ModelStore) -> None:
    rows = [{"input": f"What is {n}?", "answer": f"It is {n}."} for n in range(6)]
    for name in ("ann", "bob"):
        (folder / name / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        rewrite(folder / name / "specialist.yaml", style="free", examples=["rows.jsonl"])
    with pytest.raises(InputError, match=f"not free, free on {TINY}"):
        train(folder, out=tmp_path / "out", store=models)


# A real team.


@pytest.fixture(scope="module")
def built(first_office: Path, models: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The office; one of its specialists answers with the default base, the other quotes with the tiny one."""
    folder = Path(shutil.copytree(first_office, tmp_path_factory.mktemp("two") / "office"))
    rewrite(folder / "helpdesk" / "specialist.yaml", style="answer", model={"base": DEFAULT})
    build(Blueprint.read(folder), store=models)
    return folder


def test_an_evaluation_knows_the_bases_and_their_skills(built: Path, models: ModelStore) -> None:
    with open_evaluation(Blueprint.read(built), lambda *now: None, store=models) as bench:
        assert bench.in_use("helpdesk").adapter == find_skill("general")
        assert bench.in_use("travel").adapter == find_skill("quote")
        assert {t.system for t in bench.candidates("helpdesk")} == {"base", "skill"}
        runtime = Runtime(bench.embedder, bench.bases)
        assert sorted(runtime.bases) == [DEFAULT, TINY]


# Memory.


def large(folder: Path, *names: str) -> list[Path]:
    """Files of 100 MB, for which an engine is expected to take 130; they are empty, and take no room on the disk."""
    made = files(folder, *names)
    for path in made:
        with path.open("r+b") as file:
            file.truncate(100_000_000)
    return made


def rest_of(plan: Blueprint) -> int:
    return sum(memory_need(plan, {}, {}).rest.values())


def test_bases_that_do_not_fit_together_are_open_in_turn(tmp_path: Path) -> None:
    one, two = large(tmp_path, "one", "two")
    cards = [card("ann"), card("bob", two), card("cat")]
    rest = rest_of(plan_of(tmp_path, one, *cards))
    with opened(plan_of(tmp_path, one, *cards, ram=rest + 200_000_000)) as team:
        assert OPEN == [], "none is opened before somebody needs it"
        for name, base in (("ann", "one"), ("cat", "one"), ("bob", "two"), ("ann", "one")):
            assert team.ask("hello", specialist=name).text == f"so says {base}"
            assert [engine.base for engine in OPEN] == [base]
    with opened(plan_of(tmp_path, one, *cards, ram=rest + 300_000_000)):
        assert [engine.base for engine in OPEN] == ["one", "two"], "both fit"


def test_a_team_that_does_not_fit_at_all_says_what_it_needs(tmp_path: Path) -> None:
    one, two = large(tmp_path, "one", "two")
    plan = plan_of(tmp_path, one, card("ann"), card("bob", two), ram="300MB")
    with pytest.raises(ConfigError) as told:
        opened(plan)
    error = told.value
    need = memory_need(plan, find_bases(plan, ModelStore(tmp_path)), {str(one): [], str(two): []})
    assert need.engines == {str(one): 130_000_000, str(two): 130_000_000}
    assert need.total - need.least == 130_000_000
    assert f"asked for 0.3GB of memory; needs {in_gb(need.least)} with one base open, in all {need}" in error.message
    assert "available: " in error.message
    assert f"`ram: {in_gb(need.least, up=True)}` (one base at a time)" in (error.hint or "")
    larger = plan_of(tmp_path, one, card("ann"), card("bob", two), ram=in_gb(need.least, up=True))
    with opened(larger) as team:
        assert team.ask("hello", specialist="bob").text == "so says two", "what the hint says is enough"


def test_the_doctor_tells_the_memory_of_a_team(built: Path, tmp_path: Path) -> None:
    def memory(**more: Any) -> Finding:
        folder = Path(shutil.copytree(built, tmp_path / str(len(list(tmp_path.iterdir())))))
        rewrite(folder / "team.yaml", **more)
        return next(finding for finding in check_team(folder) if finding.what == "memory")

    told = memory()
    assert told.status in ("ok", "note"), "how much is free differs from machine to machine"
    assert all(what in told.found for what in (DEFAULT, TINY, "multilingual-e5-small", "documents"))
    assert "open in turn, which takes" in memory(ram="2GB").found
    scarce = memory(ram="700MB")
    assert scarce.status == "fail"
    assert "one base at a time" in scarce.mend


def test_two_real_bases_answer_in_turn(built: Path, models: ModelStore, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "office"))
    rewrite(folder / "team.yaml", ram="2GB")
    with Team.load(folder, store=models) as team:
        assert isinstance(team.engine, PooledEngine)
        answer = team.ask("Which network do guests use?", specialist="helpdesk")
        quoted = team.ask("How much is paid for a hotel in Berlin?", specialist="travel")
        again = team.ask("Which network do guests use?", specialist="helpdesk")
    assert "office-guest" in answer.text
    assert again.text == answer.text
    assert quoted.citations[0].quote == quoted.text

"""The gate and its commands on a real team: what is promoted, what is kept back and why, what `metier eval` shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from metier.agents.build import Gate, build
from metier.agents.cards import Blueprint
from metier.agents.evaluate import Candidate, open_evaluation
from metier.agents.team import Team
from metier.agents.train import train
from metier.core.errors import IntegrityError
from metier.core.files import sha256
from metier.specialists.adapters.choose import find_skill
from metier.specialists.adapters.exchange import import_adapter
from metier.specialists.evaluation.questions import Question, Result
from metier.specialists.evaluation.run import FILE
from metier.tests.office import init_tiny
from metier.tests.test_heads import house

NAME = "helpdesk"
ROWS = [{"input": f"What is code {n}?", "answer": f"code {n}"} for n in range(12)]


@pytest.fixture(scope="module")
def built(tmp_path_factory, models) -> Path:
    folder = tmp_path_factory.mktemp("gate") / "office"
    init_tiny(folder)
    (folder / NAME / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    card = folder / NAME / "specialist.yaml"
    lines = [line for line in card.read_text().splitlines() if not line.startswith("evaluation:")]
    card.write_text("\n".join([*lines, "evaluation: held_out.jsonl"]) + "\n")
    build(Blueprint.read(folder), store=models)
    return folder


@pytest.fixture
def plan(built: Path, tmp_path: Path) -> Blueprint:
    return Blueprint.read(shutil.copytree(built, tmp_path / "office"))


def peft_folder(folder: Path, value: float) -> Path:
    """An adapter that changes one layer of SmolLM2-135M a little, as PEFT writes it."""
    folder.mkdir(parents=True)
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    sides = {"lora_A": np.full((1, 576), value, np.float16), "lora_B": np.full((576, 1), value, np.float16)}
    save_file(
        {f"{module}.{side}.weight": tensor for side, tensor in sides.items()}, folder / "adapter_model.safetensors"
    )
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def challenge(plan: Blueprint, models, tmp_path: Path, value: float = 0.001) -> str:
    """Give the specialist a challenger."""
    folder = peft_folder(tmp_path / f"peft-{value}", value)
    return import_adapter(plan.registry, NAME, folder, models.find("smollm2-135m")).id


def answered(plan: Blueprint, models, **good: int) -> None:
    """Put answers to all questions where the gate looks for them, so many of them right; no model is needed then."""
    with open_evaluation(plan, lambda *now: None, store=models) as bench:
        trials: dict[str, Candidate] = {"used": bench.in_use(NAME)}
        trials |= {t.system: t for t in bench.candidates(NAME)}
        for system, right in good.items():
            trials[system].folder.mkdir(parents=True, exist_ok=True)
            lines = [made(q, n < right).model_dump_json() for n, q in enumerate(bench.questions(NAME))]
            (trials[system].folder / FILE).write_text("\n".join(lines) + "\n")


def made(question: Question, right: bool) -> Result:
    text, score = (question.texts[0], 1.0) if right else ("wrong", 0.0)
    scores = {"em": score, "f1": score}
    return Result(id=question.id, input=question.input, answers=tuple(question.texts), text=text, found=True,
                  confidence=0.9, measures={}, scores=scores, seconds=1, input_tokens=9, output_tokens=3)  # fmt: skip


def verdict(plan: Blueprint, models, gate: Gate = "promote") -> tuple[bool, str]:
    (found,) = build(plan, store=models, gate=gate).gate
    return found.promoted, found.why


def test_a_better_challenger_is_promoted_and_works_from_then_on(plan: Blueprint, models, tmp_path: Path) -> None:
    with Team.load(plan, store=models) as team:
        before = team.specialists[NAME].version
    id = challenge(plan, models, tmp_path)
    answered(plan, models, used=4, challenger=10)
    promoted, why = verdict(plan, models)
    assert promoted
    assert "f1 0.333 → 0.833" in why
    assert plan.registry.state(NAME).champion == id
    assert plan.registry.state(NAME).events[-1].why == why
    with Team.load(plan, store=models) as team:
        version = team.specialists[NAME].version
        assert version != before
        assert team.ask("Which network do guests use?", specialist=NAME).version == version
    assert build(plan, store=models, gate="promote").gate == ()
    plan.registry.rollback(NAME)
    with Team.load(plan, store=models) as team:
        assert team.specialists[NAME].version == before, "a rollback works at once"


def test_a_challenger_that_is_no_better_stays_and_the_reason_is_told_once(plan: Blueprint, models, tmp_path) -> None:
    id = challenge(plan, models, tmp_path)
    answered(plan, models, used=6, challenger=6)
    for _ in range(2):
        promoted, why = verdict(plan, models)
        assert not promoted
        assert "better in 0% of the resamples, 90% needed" in why
    state = plan.registry.state(NAME)
    assert (state.champion, state.challenger) == (None, id)
    assert [e.did for e in state.events] == ["added", "kept back"]


def test_hold_evaluates_and_promotes_nothing(plan: Blueprint, models, tmp_path: Path) -> None:
    challenge(plan, models, tmp_path)
    answered(plan, models, used=0, challenger=12)
    assert build(plan, store=models).gate == (), "nobody waits for the gate who did not ask for it"
    promoted, why = verdict(plan, models, gate="hold")
    assert not promoted
    assert why.startswith("held back")
    assert verdict(plan, models)[0]


def test_the_next_challenger_is_measured_against_the_champion(plan: Blueprint, models, tmp_path: Path) -> None:
    first = challenge(plan, models, tmp_path)
    plan.registry.promote(NAME)
    challenge(plan, models, tmp_path, value=0.002)
    answered(plan, models, champion=11, challenger=5)
    promoted, why = verdict(plan, models)
    assert not promoted
    assert f"against champion {first}" in why


def test_what_cannot_be_decided_is_said(plan: Blueprint, models, tmp_path: Path) -> None:
    challenge(plan, models, tmp_path)
    card = plan.folders[NAME] / "specialist.yaml"
    card.write_text(card.read_text().replace("evaluation: held_out.jsonl\n", ""))
    promoted, why = verdict(Blueprint.read(plan.root), models)
    assert not promoted
    assert "no `evaluation` set" in why


def test_a_tampered_champion_is_never_loaded(plan: Blueprint, models, tmp_path: Path) -> None:
    challenge(plan, models, tmp_path)
    version = plan.registry.promote(NAME)
    weights = version.path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(IntegrityError):
        Team.load(plan, store=models)


def test_eval_compares_systems_and_keeps_what_they_said(run, plan: Blueprint, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ("eval", NAME, "-t", plan.root, "--limit", 2, "--compare", "base,skill")
    code, out, _ = run(*words, "--json", "--report", page)
    assert code == 0
    (found,) = json.loads(out)["specialists"]
    assert [s["system"] for s in found["systems"]] == ["base", "skill"]
    assert all(s["metrics"]["f1"]["n"] == 2 for s in found["systems"])
    assert len({r["input"] for s in found["systems"] for r in s["results"]}) == 2
    kept = {p: p.read_bytes() for p in (plan.state / "evaluations").glob(f"*/{FILE}")}
    assert len(kept) == 2
    html = page.read_text()
    assert html.count("<svg") == 2
    assert "http" not in html.replace("http-equiv", "")
    again = run(*words, "--json")[1]
    assert json.loads(again) == json.loads(out)
    assert {p: p.read_bytes() for p in kept} == kept
    assert "f1" in run(*words)[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval", "helpdeks"], "did you mean 'helpdesk'"),
        (["eval", "--compare", "bass"], "did you mean 'base'"),
        (["registry", "show", "helpdeks"], "did you mean 'helpdesk'"),
        (["registry", "show", NAME], f"'{NAME}' has no champion"),
        (["registry", "promote", NAME], f"'{NAME}' has no challenger"),
        (["registry", "rollback", NAME], "no other champion before"),
        (["registry", "import", NAME, "nowhere"], "no adapter_model.safetensors"),
        (["registry", "remove", NAME, "abc"], "unknown version"),
    ],
)
def test_mistakes_are_told_in_words(run, plan: Blueprint, words: list[str], message: str) -> None:
    code, _, err = run(*words, "-t", plan.root)
    assert code != 0
    assert message in " ".join(err.split())


def test_a_damaged_evaluation_set_is_named_with_its_line(run, plan: Blueprint) -> None:
    with (plan.folders[NAME] / "held_out.jsonl").open("a") as file:
        file.write('{"input": "no answer"}\n')
    code, _, err = run("eval", NAME, "-t", plan.root)
    assert code == 2
    assert "held_out.jsonl:13: row without an 'answer'" in " ".join(err.split())


def test_the_registry_from_the_command_line(run, plan: Blueprint, models, tmp_path: Path) -> None:
    one, two = peft_folder(tmp_path / "one", 0.001), peft_folder(tmp_path / "two", 0.002)
    at = ("-t", plan.root)
    assert run("registry", "import", NAME, one, *at)[0] == 0
    assert run("registry", "promote", NAME, *at)[0] == 0
    assert run("registry", "import", NAME, two, *at)[0] == 0
    rows = json.loads(run("registry", "list", "--json", *at)[1])
    assert [row["alias"] for row in rows] == ["challenger", "champion"]
    assert rows[1]["version"] in run("registry", "list", *at)[1]
    assert json.loads(run("registry", "show", NAME, "--json", *at)[1])["record"]["origin"] == "one"
    assert json.loads(run("registry", "diff", NAME, "--json", *at)[1])["origin"] == ["one", "two"]
    assert "origin" in run("registry", "diff", NAME, *at)[1]
    assert run("registry", "export", NAME, tmp_path / "out", "champion", *at)[0] == 0
    assert "promoted: asked for" in (tmp_path / "out" / "README.md").read_text()
    assert run("registry", "remove", NAME, rows[1]["version"], *at)[0] == 1
    assert run("registry", "promote", NAME, "challenger", *at)[0] == 0
    assert run("registry", "rollback", NAME, *at)[0] == 0
    assert plan.registry.state(NAME).champion == rows[1]["version"]
    assert run("registry", "remove", NAME, rows[0]["version"], *at)[0] == 0
    assert plan.registry.versions(NAME) == [rows[1]["version"]]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_training_makes_a_challenger_that_tells_where_it_comes_from(plan: Blueprint, models) -> None:
    learnt = train(plan, [NAME], minutes=0.01, store=models)
    version = plan.registry.find(NAME, "challenger")
    assert learnt.versions == {NAME: version.id}
    assert version.record["data"] == {f"{NAME}/examples.jsonl": sha256(plan.folders[NAME] / "examples.jsonl")}
    assert version.record["start"] == sha256(find_skill("quote") / "adapter_model.safetensors")
    assert version.record["base"]["gguf_sha256"] == models.find("smollm2-135m").sha256("gguf")
    assert version.record["report"]["steps"] == learnt.reports["quote"].steps
    assert version.record["config"]["seed"] == version.record["seed"] == 0
    assert list((plan.state / "training").iterdir()) == []
    with open_evaluation(plan, lambda *now: None, store=models, limit=1) as bench:
        trials = bench.candidates(NAME, ["challenger"])
        assert len(bench.run(trials)[0]) == 1, "the engine can work with it"


def test_a_label_head_is_a_system_of_its_own(tmp_path: Path, models) -> None:
    plan = house(tmp_path)
    card = plan.folders["desk"] / "specialist.yaml"
    card.write_text(card.read_text() + "evaluation: held_out.jsonl\n")
    row = {"input": "the pipe in the cellar drips", "answer": "desk_a"}
    (plan.folders["desk"] / "held_out.jsonl").write_text(json.dumps(row) + "\n")
    plan = Blueprint.read(plan.root)
    build(plan, store=models)
    with open_evaluation(plan, lambda *now: None, store=models) as bench:
        trials = bench.candidates("desk", ["base", "head"])
        (base,), (head,) = bench.run(trials)
        assert (head.text, head.input_tokens) == ("desk_a", 0)
        assert base.input_tokens > 0
        assert bench.in_use("desk").version == trials[1].version != trials[0].version

"""Examples as lessons: what is learnt is what the specialist will be asked, for every style, and no evaluation row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metier.agents.assemble import Runtime, open_specialist
from metier.agents.cards import Blueprint
from metier.agents.train import lessons_of, train
from metier.core.errors import ConfigError, InputError
from metier.core.models import ModelStore
from metier.core.onnx_embedder import OnnxEmbedder
from metier.core.types import Brief
from metier.specialists.engines.scripted import ScriptedEngine
from metier.specialists.functions import NO_CALL

SUM = {"name": "calculate", "arguments": {"expression": "17 * 3"}}
CARDS: dict[str, dict[str, Any]] = {
    "label": {"labels": ["water", "power"]},
    "act": {"tools": ["calculator", "clock"]},
    "json": {"output_schema": {"type": "object", "properties": {"room": {"type": "string"}}, "required": ["room"]}},
    "sql": {"database": "parts.csv"},
}
ROWS: dict[str, dict[str, Any]] = {
    "label": {"input": "the tap drips", "answer": "water"},
    "act": {"input": "how much are three boxes of seventeen?", "answer": SUM},
    "json": {"input": "the lamp in the hall is dark", "answer": {"room": "hall"}},
    "sql": {"input": "how many belts?", "sql": "SELECT on_hand FROM parts WHERE name = 'belt'"},
}


OTHERS: dict[str, dict[str, Any]] = {
    "act": {"input": "what is 5 plus 4?", "answer": {"name": "calculate", "arguments": {"expression": "5 + 4"}}},
    "json": {"input": "a window in the office is broken", "answer": {"room": "office"}},
}


def team(folder: Path, rows: dict[str, list[dict[str, Any]]], evaluation: str | None = None) -> Blueprint:
    """A team with one specialist for each style in `rows`."""
    (folder / "team.yaml").write_text(json.dumps({"name": "house", "specialists": [*rows]}))
    for style, some in rows.items():
        (folder / style).mkdir()
        (folder / style / "parts.csv").write_text("name,on_hand\nbelt,4\nseal,9\n")
        (folder / style / "examples.jsonl").write_text("\n".join(map(json.dumps, some)))
        card = {"name": style, "description": f"Works by {style}.", "style": style, "examples": ["examples.jsonl"]}
        if evaluation:
            (folder / style / "held_out.jsonl").write_text(json.dumps({"input": evaluation, "answer": "hidden"}))
            card["evaluation"] = "held_out.jsonl"
        (folder / style / "specialist.yaml").write_text(json.dumps(card | CARDS[style]))
    return Blueprint.read(folder)


def asked(
    plan: Blueprint, style: str, task: str, replies: list[str], embedder: OnnxEmbedder
) -> list[list[dict[str, str]]]:
    """The prompts of the specialist at work, when the model says `replies`."""
    engine = ScriptedEngine(replies)
    runtime = Runtime(embedder, {}, {plan.card.base: engine})
    open_specialist(plan, style, runtime, None, None, dry=True).run(Brief(task=task))
    roles = {"human": "user", "ai": "assistant"}
    return [[{"role": roles.get(m.type, m.type), "content": str(m.content)} for m in c.messages] for c in engine.calls]


@pytest.mark.parametrize("style", ["label", "json", "act"])
def test_a_lesson_is_what_the_specialist_is_asked(style: str, tmp_path: Path, embedder: OnnxEmbedder) -> None:
    """Its own answer does not stand in it: the other examples are those that are shown at work."""
    (at_work := tmp_path / "at work").mkdir()
    rows = [ROWS[style]] if style == "label" else [ROWS[style], OTHERS[style]]
    lessons = [(e.messages, e.answer) for e in lessons_of(team(tmp_path, {style: rows}), style, embedder)]
    task = ROWS[style]["input"]
    lessons = [one for one in lessons if task in one[0][-1]["content"]]
    replies = [answer for _, answer in lessons]
    prompts = asked(team(at_work, {style: rows[1:]}), style, task, replies, embedder)
    assert list(zip(prompts, replies, strict=True)) == lessons
    assert replies[0] == "water" if style == "label" else json.loads(replies[0]) == ROWS[style]["answer"]


@pytest.mark.parametrize("style", ["json", "act"])
def test_examples_like_the_task_are_shown(style: str, tmp_path: Path, embedder: OnnxEmbedder) -> None:
    strange = [{"input": "not an answer of this style", "answer": "so it is left out"}] if style == "act" else []
    plan = team(tmp_path, {style: [OTHERS[style], ROWS[style], {"input": "only for the router"}, *strange]})
    answer = json.dumps(ROWS[style]["answer"])
    (prompt, *after) = asked(plan, style, ROWS[style]["input"] + " please", [answer, NO_CALL], embedder)
    assert prompt[-3:-1] == [
        {"role": "user", "content": f"Question: {ROWS[style]['input']}"}, {"role": "assistant", "content": answer},
    ]  # fmt: skip
    assert len(prompt) == 6
    if style == "act":  # after a call the examples stand as they did after theirs
        assert [turn["content"] for turn in after[0] if turn["role"] == "assistant"] == [NO_CALL, NO_CALL]


def test_what_is_copied_from_an_example_is_asked_for_again(tmp_path: Path, embedder: OnnxEmbedder) -> None:
    row = {"input": "how much is B7?", "answer": {"name": "calculate", "arguments": {"expression": "B7"}}}
    plan = team(tmp_path, {"act": [row]})
    copied, own = json.dumps(row["answer"]), json.dumps(SUM)
    first, second, _ = asked(plan, "act", ROWS["act"]["input"], [copied, own, NO_CALL], embedder)
    assert (len(first), len(second)) == (4, 2)


def test_calls_are_learnt_one_after_the_other_and_then_none(tmp_path: Path, embedder: OnnxEmbedder) -> None:
    twice = {"input": "17 times 3, then the time", "answer": [SUM, {"name": "current_time", "arguments": {}}]}
    plan = team(tmp_path, {"act": [twice, {"input": "sing!", "answer": None}]})
    lessons = lessons_of(plan, "act", embedder)
    names = [json.loads(e.answer)["name"] if e.answer != NO_CALL else None for e in lessons]
    assert names[:3] == ["calculate", "current_time", None]
    assert 'calculate(expression="17 * 3") gave: done' in lessons[1].messages[-1]["content"]
    assert (lessons[-1].messages[-1]["content"], lessons[-1].answer) == ("Question: sing!", NO_CALL)


def test_a_database_is_asked_behind_questions_like_it_and_alone(tmp_path: Path, embedder: OnnxEmbedder) -> None:
    other = {"input": "how many seals?", "sql": "SELECT on_hand FROM parts WHERE name = 'seal'"}
    plan = team(tmp_path, {"sql": [ROWS["sql"], other]})
    lessons, made_up = (found := lessons_of(plan, "sql", embedder))[:4], found[4:]
    assert [len(e.messages) for e in lessons] == [4, 2, 4, 2]
    assert len(made_up) > 10
    assert {len(e.messages) for e in made_up[:-1]} == {10}  # five questions in each
    assert {e.answer for e in lessons} == {e.messages[2]["content"] for e in lessons if len(e.messages) == 4}
    assert lessons[1].messages[-1] == asked(plan, "sql", "how many belts?", [lessons[0].answer], embedder)[0][-1]


def test_made_up_questions_are_no_evaluation_questions_either(tmp_path: Path, embedder: OnnxEmbedder) -> None:
    def tasks(evaluation: str | None) -> set[str]:
        folder = tmp_path / ("held_out" if evaluation else "free")
        folder.mkdir()
        plan = team(folder, {"sql": [ROWS["sql"]]}, evaluation)
        said = [m["content"] for e in lessons_of(plan, "sql", embedder) for m in e.messages if m["role"] == "user"]
        return {text.rpartition("Question: ")[2] for text in said}

    one = sorted(tasks(None) - {ROWS["sql"]["input"]})[0]
    assert one not in tasks(one)


def test_labels_share_a_prompt(tmp_path: Path, embedder: OnnxEmbedder) -> None:
    rows = [{"input": f"report {n}", "answer": ("water", "power")[n % 2]} for n in range(6)]
    plan = team(tmp_path, {"label": [*rows, {"input": "report 9", "answer": "no such label"}]})
    lessons = lessons_of(plan, "label", embedder)
    assert [len(e.messages) for e in lessons] == [8, 4]
    said = [m["content"] for e in lessons for m in e.messages if m["role"] == "assistant"] + [e.answer for e in lessons]
    assert sorted(said) == ["power"] * 3 + ["water"] * 3


@pytest.mark.parametrize("style", CARDS)
def test_evaluation_rows_are_no_lessons(style: str, tmp_path: Path, embedder: OnnxEmbedder) -> None:
    plan = team(tmp_path, {style: [ROWS[style]]}, evaluation=ROWS[style]["input"])
    assert lessons_of(plan, style, embedder) == []


@pytest.mark.parametrize("answer", ["17", {"tool": "calculator"}, [["calculator"]]])
def test_what_is_no_call_is_named(answer: object, tmp_path: Path, embedder: OnnxEmbedder) -> None:
    plan = team(tmp_path, {"act": [{"input": "add!", "answer": answer}]})
    with pytest.raises(ConfigError, match="'add!' is no call"):
        lessons_of(plan, "act", embedder)


def test_a_function_that_it_does_not_have_is_named(tmp_path: Path, embedder: OnnxEmbedder) -> None:
    plan = team(tmp_path, {"act": [{"input": "add!", "answer": {"name": "calculator", "arguments": {}}}]})
    with pytest.raises(ConfigError, match=r"'calculator'.*calculate, "):
        lessons_of(plan, "act", embedder)


def test_one_adapter_has_one_style(tmp_path: Path, models: ModelStore) -> None:
    plan = team(tmp_path, {style: [ROWS[style]] for style in ("label", "json")})
    with pytest.raises(InputError, match="not label, json"):
        train(plan, ["label", "json"], tmp_path / "out", store=models)
    (tmp_path / "label" / "examples.jsonl").write_text("")
    with pytest.raises(InputError, match="no lessons"):
        train(plan, ["label"], store=models)


@pytest.mark.parametrize(
    ("method", "hint"), [("qlora", "rslora"), ("prompt", "engine: transformers"), ("dora", "--out"), ("full", "a base")]
)
def test_a_method_that_nothing_would_run_is_refused_at_once(method: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"method '{method}'") as error:
        train(team(tmp_path, {"label": []}), ["label"], method=method)
    assert hint in str(error.value)

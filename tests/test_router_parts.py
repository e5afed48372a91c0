"""The parts of the router that need no fitted model: split, rules, numbers, report, log, edge."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.core.errors import StateError
from metier.core.kernel_ridge import fit_kernel_ridge
from metier.core.metrics import expected_calibration_error, risk_coverage
from metier.core.types import Choice, Part, Route
from metier.router.decision import RouteRules, Rules, assign, fit_least, segments, strength
from metier.router.features import Example, Lexicon, flatten, lexicon_words, normalise_example, pieces
from metier.router.log import DecisionLog
from metier.router.model import (
    NEVER,
    conformal_threshold,
    fit_platt,
    fit_shortcut,
    fit_temperature,
    probabilities,
    refusal_threshold,
)
from metier.router.report import NO_SPECIALIST, draw_plots, report, score
from metier.router.router import Router, everyday


def one(name: str, chance: float = 0.9, **more) -> Route:
    rest = {"a", "b"} - {name}
    choices = (Choice(name=name, probability=chance), *(Choice(name=n, probability=0.0) for n in sorted(rest)))
    return Route(decision="one", parts=(Part(specialist=name, text="t"),), choices=choices, confidence=chance,
                 candidates=(name,), **more)  # fmt: skip


NONE = Route(decision="abstain", choices=(Choice(name="a", probability=0.1),), confidence=0.9)


class Scripted(Router):
    """A router that says what it was told to."""

    def __init__(self, **routes: Route) -> None:
        self._routes = routes

    def route(self, text: str, **_: object) -> Route:
        return self._routes.get(text, NONE)


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalise_example(normalise_example(text)) == normalise_example(text)


@given(st.text(max_size=300))
def test_segments_keep_every_word_but_the_seams(text):
    found = segments(text)
    assert len(found) != 1
    position = 0
    for piece in found:
        for word in piece.split():
            position = text.index(word, position)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("how many filters are left", 0),
        ("how many filters are left and may I climb on the filler", 2),
        ("Who signs the permit? How many padlocks are there?", 2),
        ("salt and pepper", 0),
        ("The filler stops every few minutes. What should I check?", 0),
        ("Order two filters. Tell the night shift about it.", 2),
        ("The filler stops. What should I check? And who signs the permit?", 2),
        ("grease the chain and the bearing", 0),
        ("how many jobs did R. Okafor work on", 0),
        ("what does Dr. Lee say about the valve", 0),
    ],
)
def test_where_tasks_are_cut(text, count):
    assert len(segments(text)) == count


def test_unsure_pieces_stay_with_their_neighbour():
    chances = np.array([[0.9, 0.0], [0.3, 0.2], [0.0, 0.8]])
    assert [(p.column, p.text) for p in assign(["a a a", "b b b", "c c c"], chances, 0.5)] == [
        (0, "a a a b b b"),
        (1, "c c c"),
    ]
    assert assign(["a a a", "b b b"], np.array([[0.9, 0.0], [0.8, 0.1]]), 0.5) == []
    assert strength(chances) == 0.8


@given(st.lists(st.floats(0, 1), max_size=50))
def test_few_single_tasks_are_taken_apart(strengths):
    of = 1000
    least = fit_least(strengths, of)
    assert sum(s >= least for s in strengths) <= 0.01 * of


def test_never_wins_over_everything():
    rules = Rules({"a": RouteRules(always=("x",), never=("bomb",))}, ["a", "b"])
    assert rules.judge("x marks").chosen == ("a",)
    assert rules.judge("@a a bomb x").chosen == ()
    assert rules.judge("@a a bomb x").barred == {"a"}


@pytest.mark.parametrize("text", ["me@a.example", "x@a", "@abc", "a@b"])
def test_addresses_are_not_calls(text):
    assert Rules({}, ["a"]).judge(text).chosen == ()


@given(st.text(max_size=200))
def test_lexicon_rows_have_length_one_or_nothing(text):
    lexicon = Lexicon.fit("pieces", ["how many filters", "which permit", text])
    _, values = lexicon.row(text)
    assert sum(v * v for v in values) == pytest.approx(1 if pieces(text) else 0, abs=1e-5)
    assert lexicon.transform([text]).shape == (1, len(lexicon.terms))


def test_words_and_pairs():
    assert lexicon_words("Hot work, hot") == ["hot", "work", "hot", "hot work", "work hot"]


def test_held_out_scores_are_those_of_a_fit_without_the_example():
    dice = np.random.default_rng(0)
    points = dice.normal(size=(30, 4)).astype(np.float32)
    kernel, targets = points @ points.T, dice.normal(size=(30, 2)).astype(np.float32)
    ridge = dice.uniform(0.2, 1, 30).astype(np.float32)
    fit = fit_kernel_ridge(kernel, targets, ridge)
    for left in (0, 7, 29):
        rest = np.arange(30) != left
        system = kernel[np.ix_(rest, rest)] + np.diag(ridge[rest])
        alone = kernel[left, rest] @ np.linalg.solve(system, targets[rest] - fit.prior) + fit.prior
        assert fit.held_out[left] == pytest.approx(alone, abs=1e-3)


@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.04, 0.1]))
def test_the_refusal_threshold_never_refuses_more_than_promised(seed, rate):
    inside = np.random.default_rng(seed).random(200)
    assert np.mean(inside < refusal_threshold(inside, rate)) <= rate


def test_the_promise_holds_on_new_tasks_nine_times_out_of_ten():
    dice = np.random.default_rng(1)
    kept = [np.mean(dice.random(2000) < refusal_threshold(dice.random(400), 0.04)) <= 0.042 for _ in range(100)]
    assert np.mean(kept) >= 0.85


def test_conformal_sets_cover():
    dice = np.random.default_rng(2)
    covered = [np.mean(dice.random(2000) >= conformal_threshold(dice.random(500), 0.95)) for _ in range(50)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)


def test_temperature_makes_probabilities_honest():
    dice = np.random.default_rng(3)
    scores = dice.normal(size=(4000, 4)).astype(np.float32) * 0.2
    truth = np.array([dice.choice(4, p=p / p.sum()) for p in probabilities(scores, 0.15).astype(float)])
    assert fit_temperature(scores, truth) == pytest.approx(0.15, rel=0.15)


def test_platt_tells_inside_from_outside_and_keeps_usual_values_without_data():
    signals = np.array([[0.9, 0.1, 0.8]] * 20 + [[0.1, 0.9, 0.2]] * 20, dtype=np.float32)
    weights, bias = fit_platt(signals, np.arange(40) < 20, 0.5)
    assert signals[0] @ weights + bias > 2
    assert signals[-1] @ weights + bias < -2
    alone, _ = fit_platt(signals[:20], np.ones(20, bool), 0.5)
    assert alone[0] > 0 > alone[1]


def test_calibration_error_of_honest_and_of_boastful():
    assert expected_calibration_error([0.7] * 10, [1] * 7 + [0] * 3) == pytest.approx(0)
    assert expected_calibration_error([1.0] * 10, [1] * 7 + [0] * 3) == pytest.approx(0.3)


def test_the_surest_are_answered_first():
    answered, risk = risk_coverage([0.9, 0.2, 0.8], [0, 1, 1])
    assert answered.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk.tolist() == pytest.approx([0, 1 / 2, 2 / 3])


def test_words_alone_decide_only_with_many_examples_and_never_on_unknown_words():
    dice = np.random.default_rng(4)
    kinds = {0: "oil grease bearing chain pump belt".split(), 1: "permit lock fire mask glove spill".split()}
    labels = np.array([0, 1] * 1500)
    texts = [" ".join(dice.choice(kinds[int(label)], 4)) for label in labels]
    shortcut = fit_shortcut(texts, labels, 3)
    assert shortcut.margin < NEVER
    assert shortcut.decide("oil the bearing chain pump") is None
    assert shortcut.decide("grease oil bearing chain pump") == 0
    assert fit_shortcut(texts[:100], labels[:100], 3).margin == NEVER
    assert shortcut.agree(["grease the chain", "oil the pump"])
    assert not shortcut.agree(["grease the chain", "wear a mask"])
    assert not shortcut._replace(margin=NEVER).agree(["grease the chain", "oil the pump"])  # words prove nothing here


def test_flatten_drops_blanks_and_repetitions():
    found = flatten([Example(text=" a  b "), Example(text="a b"), Example(text="a b", label="x"), Example(text=" ")])
    assert [(e.text, e.label) for e in found] == [("a b", None), ("a b", "x")]


def test_everyday_texts_are_many_and_different():
    found = everyday()
    assert len(found) == len(set(found)) > 300


def test_the_edge_is_a_plain_callable():
    several = Route(decision="several", parts=(Part(specialist="a", text="x"), Part(specialist="b", text="y")))
    router = Scripted(x=one("a"), y=several, z=Route(decision="clarify"))
    choose = router.as_edge(nodes={"b": "node_b"}, clarify="ask")
    assert choose({"messages": [("user", "x")]}) == "a"
    assert choose({"input": "y"}) == ["a", "node_b"]
    assert choose({"input": "z"}) == "ask"
    assert choose({"input": "?"}) == "__end__"


def test_the_task_is_found_in_any_state():
    message = SimpleNamespace(content=[{"type": "text", "text": "hello"}, {"type": "image"}])
    choose = Scripted(**{"hello ": one("a"), "hi": one("b")}).as_edge()
    assert choose({"messages": [message]}) == "a"
    assert choose({"messages": [("user", "hi")]}) == "b"
    assert choose({"messages": [{"role": "user", "content": "hi"}]}) == "b"
    with pytest.raises(KeyError, match="neither 'messages' nor 'input'"):
        choose({})


def test_the_report_counts_and_suggests():
    tasks = [("a", one("a")), ("a", one("b")), ("b", one("a")), ("b", NONE), (None, one("a")), (None, NONE)]
    scored = [score(Example(text=f"t{i}", label=label), route) for i, (label, route) in enumerate(tasks)]
    found = report(scored)
    assert (found.accuracy, found.in_scope_accuracy) == (pytest.approx(2 / 6), 0.25)
    assert (found.oos_recall, found.false_refusal) == (0.5, 0.25)
    assert np.sum(found.matrix) == 6
    assert any("overlap" in s and "“t1”" in s for s in found.suggestions)
    assert any("refused" in s for s in found.suggestions)
    assert any("outside" in s for s in found.suggestions)
    assert NO_SPECIALIST in found.names


class Embeds:
    name, dimension = "none", 2

    def embed(self, texts):
        return np.ones((len(texts), 2), dtype=np.float32)


@pytest.fixture(scope="module")
def tiny() -> Router:
    return Router.fit({"a": ["grease the chain"], "b": ["which permit"]}, embedder=Embeds())


def test_decisions_are_kept_replayed_and_corrected(tiny, tmp_path):
    log = DecisionLog(tmp_path / "deep" / "decisions.jsonl")
    text = "something else\nentirely"
    first = log.add(tiny, text, tiny.route(text), context=["before"])
    assert [d.text for d in log.decisions()] == [text]
    assert log.replay(tiny) == []
    log.correct(first, "b")
    assert log.corrections() == [Example(text="something else entirely", label="b")]
    [changed] = log.replay(tiny.corrected(log.corrections()))
    assert (changed.after, changed.id) == ("b", first)
    with pytest.raises(StateError, match="unknown decision"):
        log.correct("nothing", "a")
    log.path.write_text("{}\n")
    with pytest.raises(StateError, match=r"decisions\.jsonl:1"):
        list(log.decisions())


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    scored = [
        score(Example(text="t", label=label), route)
        for label, route in [("a", one("a")), ("b", one("a")), (None, NONE)]
    ]
    paths = draw_plots(report(scored), scored, tmp_path / "plots")
    assert [p.name for p in paths] == ["confusion.png", "reliability.png", "risk_coverage.png"]
    assert all(p.read_bytes()[:4] == b"\x89PNG" for p in paths)


def test_the_package_knows_neither_langgraph_nor_its_siblings():
    for file in (Path(__file__).parents[1] / "router").glob("*.py"):
        text = file.read_text()
        assert "import langgraph" not in text
        assert "from ..specialists" not in text
    assert json.loads((Path(__file__).parents[1] / "router" / "everyday.json").read_text())

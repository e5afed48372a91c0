"""core/yaml.py: every mistake is one ConfigError with file, line and field; good cards come back as they were."""

from __future__ import annotations

import os
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from metier.agents.cards import TeamCard
from metier.core.errors import ConfigError
from metier.core.yaml import MAX_BYTES, load_yaml
from metier.specialists.card import SpecialistCard
from metier.specialists.styles.table import check_card

GOOD = """\
name: safety
description: Knows the rules of the house.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cards")


def refused(folder: Path, text: str | bytes) -> ConfigError:
    """The error that `text` gives as a specialist.yaml."""
    path = folder / "specialist.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path, SpecialistCard, check_card)
    return caught.value


def test_a_small_card_gets_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "specialist.yaml").write_text(GOOD)
    card = load_yaml(tmp_path / "specialist.yaml", SpecialistCard)
    assert card == SpecialistCard(name="safety", description="Knows the rules of the house.")


def test_all_mistakes_are_told_at_once_with_their_lines(folder: Path) -> None:
    text = GOOD + "knowledge:\n  topk: 3\n  top_k: 99\nhandoffs:\n  - to: stock\n  - when: later\nlabels: [1, b]\n"
    error = refused(folder, text)
    assert (error.line, error.field) == (4, "knowledge.topk")
    lines = str(error).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{folder / 'specialist.yaml'}:4", "knowledge.topk"],
        [f"{folder / 'specialist.yaml'}:5", "knowledge.top_k"],
        [f"{folder / 'specialist.yaml'}:8", "handoffs[1].to"],
        [f"{folder / 'specialist.yaml'}:9", "labels[0]"],
    ]
    assert "did you mean 'top_k'?" in lines[0]
    assert "found the number 99" in lines[1]
    assert "is missing" in lines[2]
    assert "put it in quotes" in lines[3]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "is empty"),
        ("# only a comment\n", 1, "is empty"),
        ("- a\n- b\n", 1, "should be a mapping with the fields name, description"),
        ("just words", 1, "found 'just words'"),
        (GOOD + "knowledge: docs\n", 3, "should be a mapping with the fields sources"),
        (GOOD + "examples: one\n", 3, "should be a valid list, found 'one'"),
        (GOOD + "style: [quote]\n", 3, "found a list"),
        (GOOD + "style: label\n", 1, "style 'label' needs at least two labels"),
        (GOOD + "name: other\n", 3, "'name' is already set in line 1"),
        (GOOD + "a: [1\n", 4, "is not YAML"),
        (GOOD + "\tstyle: quote\n", 3, "indent with spaces"),
        (GOOD + "---\n" + GOOD, 3, "single document"),
        (GOOD + "style: !!python/object/apply:os.system [ls]\n", 3, "is not allowed"),
        (GOOD + "model: {<<: {max_tokens: 3}}\n", 3, "a key must be plain text"),
        (GOOD + "? [a, b]\n: 1\n", 3, "a key must be plain text"),
        (GOOD.encode() + b"style: \xff\n", 3, "is not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", 1, "is not UTF-8 text"),
        ("a\x00b", None, "is not YAML"),
        ("[" * 3_000, None, "nested too deeply"),
        ("a: " + "{b: " * 60 + "1" + "}" * 60, 1, "too many values or levels"),
        ("a: &a\n  b: *a\n", 1, "too many values or levels"),
        ("#" * (MAX_BYTES + 1), None, "is larger than 1,000,000 bytes"),
    ],
)
def test_a_mistake_names_line_and_reason(folder: Path, text: str | bytes, line: int | None, said: str) -> None:
    error = refused(folder, text)
    assert said in str(error)
    assert error.line == line
    assert str(error).startswith(f"{folder / 'specialist.yaml'}:{line}:" if line else str(folder / "specialist.yaml"))


def test_an_alias_bomb_is_stopped_early(folder: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "too many values" in str(refused(folder, "\n".join(rows))), "10¹² of them would not fit into any machine"


def test_paths_that_are_no_readable_file(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("name: x\n")
    os.mkfifo(tmp_path / "pipe")
    for path, said in [
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "taem.yaml", "there is: team.yaml"),
        (tmp_path / "none" / "team.yaml", "does not exist either"),
        (tmp_path / "pipe", "is not a regular file"),
    ]:
        with pytest.raises(ConfigError, match=said):
            load_yaml(path, TeamCard)


def test_yaml_1_2_keeps_words_and_dates_as_text(tmp_path: Path) -> None:
    path = tmp_path / "specialist.yaml"
    path.write_text("\ufeff" + GOOD + "labels: [yes, no, on, 2024-01-01, 1:30, =]\n", encoding="utf-8")
    assert load_yaml(path, SpecialistCard).labels == ["yes", "no", "on", "2024-01-01", "1:30", "="]


def test_anchors_and_aliases_work(tmp_path: Path) -> None:
    path = tmp_path / "specialist.yaml"
    path.write_text(GOOD + "labels: &two [a, b]\nexamples: *two\n")
    assert load_yaml(path, SpecialistCard).examples == ["a", "b"]


YAMLISH = st.text(alphabet="ab1.-:#&*!|>%@`'\"?,[]{}<=~ \n\t\\\u00e9\u2028\ufeff", max_size=60)


@settings(max_examples=150)
@given(st.one_of(st.text(max_size=60), YAMLISH, YAMLISH.map(lambda tail: GOOD + tail), st.binary(max_size=60)))
@example("a: ._")
@example("a: !!int 'x'")
@example("a: !!bool maybe")
@example("%YAML 1.1\n---\na: 1")
@example("? ")
@example("a: " + "9" * 5000)
def test_no_text_raises_anything_but_config_error(folder: Path, text: str | bytes) -> None:
    path = folder / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    with suppress(ConfigError):
        assert load_yaml(path, SpecialistCard).name == "safety"


WORDS = st.text(min_size=1, max_size=30).filter(lambda s: s.isprintable())
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,40}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
CARDS = st.fixed_dictionaries(
    {"name": NAMES, "description": WORDS.map("It knows all of: {}".format)},
    optional={
        "instructions": st.text(alphabet="a: #-\n'\"é", max_size=20),
        "knowledge": st.fixed_dictionaries(
            {}, optional={"sources": st.lists(WORDS, max_size=3), "top_k": st.integers(1, 50)}
        ),
        "output_schema": st.dictionaries(WORDS, JSON, max_size=3),
        "labels": st.lists(WORDS, max_size=4),
        "examples": st.lists(WORDS, max_size=3),
        "handoffs": st.lists(st.fixed_dictionaries({"to": NAMES}, optional={"when": WORDS}), max_size=2),
        "abstain_below": st.floats(0, 1),
    },
)


@settings(max_examples=60)
@given(CARDS)
def test_a_card_that_is_dumped_is_read_back_equal(folder: Path, fields: dict[str, object]) -> None:
    card = SpecialistCard.model_validate(fields)
    text = StringIO()
    YAML(typ="safe", pure=True).dump(card.model_dump(mode="json"), text)
    (folder / "back.yaml").write_text(text.getvalue(), encoding="utf-8")
    assert load_yaml(folder / "back.yaml", SpecialistCard) == card

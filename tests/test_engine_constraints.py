"""Constraints under the engines in this process with the real small model: options, quotes, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from metier.core.errors import EngineError
from metier.core.models import ModelStore
from metier.specialists.engines import Sampling, grammar
from metier.specialists.engines.choose import choose
from metier.specialists.engines.engine import Json, OneOf, Quote
from metier.tests.engine_parts import FRANCE, LOCAL, local_engine

END = "<|im_end|>"
"""How this base ends a turn; llama.cpp knows `<|endoftext|>` as another end."""

few = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module", params=LOCAL)
def engine(request: pytest.FixtureRequest, models: ModelStore) -> Iterator[Any]:
    engine = local_engine(request.param, models.find("smollm2-135m").files["gguf"], context=1024, slots=3)
    yield engine
    engine.close()


@pytest.mark.parametrize(
    "options",
    [["Paris", "London", "Berlin"], ["New", "New York", "Newark", "York"], ["é", "è", "ça va"], ['a"b', "c\nd"], ["x"]],
)
def test_the_most_probable_option_is_chosen(engine: Any, options: list[str]) -> None:
    chat = engine.chat(slot="choice")
    message = chat.invoke(FRANCE, **engine.constrain(OneOf(options)))
    shares = message.response_metadata["probabilities"]
    assert list(shares) == options
    assert sum(shares.values()) == pytest.approx(1.0)
    assert message.content == max(shares, key=shares.__getitem__)
    whole = {option: whole_logprob(engine, option) for option in options}
    # Options that are as good as impossible are told apart less sharply: a cache of 8 bits is behind these numbers.
    assert whole[str(message.content)] == pytest.approx(max(whole.values()), abs=0.1, rel=0.01)


def whole_logprob(engine: Any, option: str) -> float:
    """Log-probability of an option as the whole answer, by forcing it."""
    forced = engine.chat(slot="choice").invoke(FRANCE, grammar=grammar.one_of([option], END))
    assert forced.content == option
    assert forced.usage_metadata
    return forced.response_metadata["logprob"] * forced.usage_metadata["output_tokens"]


def test_the_end_that_is_counted_is_that_of_a_turn(engine: Any) -> None:
    """A choice of one is as probable as the same answer under any other grammar."""
    chosen, quoted = (
        engine.chat(slot="choice").invoke(FRANCE, **engine.constrain(constraint)).response_metadata["logprob"]
        for constraint in (OneOf(["Paris"]), Quote(["Paris"]))
    )
    assert chosen == pytest.approx(quoted, abs=0.05)


def test_greedy_sampling_would_have_chosen_worse(engine: Any) -> None:
    cities = ["Paris", "London", "Berlin"]
    greedy = engine.chat(slot="choice").invoke(FRANCE, grammar=grammar.one_of(cities)).content
    chosen = engine.chat(slot="choice").invoke(FRANCE, **engine.constrain(OneOf(cities))).content
    assert (greedy, chosen) == ("London", "Paris")


def test_probable_options_need_few_calls() -> None:
    """A sure model is asked once; the answer's own side branches bound all others."""
    calls: list[dict[str, Any]] = []

    def sure(body: dict[str, Any]) -> dict[str, Any]:
        calls.append(body)
        tokens = [
            token(1, b"spa", 0.97, {2: (b"ha", 0.01)}),
            token(3, b"m", 0.99, {4: (b"n", 0.005)}),
            token(0, b"", 1),
        ]
        return {"choices": [{"logprobs": {"content": tokens}}]}

    choice = choose(sure, lambda text: [1, 3], {}, ["spam", "ham", "span"])
    assert (choice.option, len(calls)) == ("spam", 1)
    assert choice.probabilities["ham"] == pytest.approx(0.01 / (0.97 * 0.99 + 0.01 + 0.97 * 0.005), rel=0.01)


def token(number: int, text: bytes, p: float, others: dict[int, tuple[bytes, float]] | None = None) -> dict[str, Any]:
    beside = [{"id": n, "bytes": list(t), "logprob": math.log(q)} for n, (t, q) in (others or {}).items()]
    mine = {"id": number, "bytes": list(text), "logprob": math.log(p)}
    return {**mine, "top_logprobs": [mine, *beside]}


def test_nothing_to_choose_from(engine: Any) -> None:
    for constraint in (OneOf([]), Quote(["", "  "]), Quote([])):
        with pytest.raises(ValueError, match="no options"):
            engine.chat().invoke(FRANCE, **engine.constrain(constraint))


texts = st.text(st.sampled_from("ab é日🙂\"\\\n\t.,'-–{}%/"), min_size=1, max_size=60).filter(str.strip)


@few
@given(passages=st.lists(texts, min_size=1, max_size=3))
def test_quotes_stand_in_the_passages(engine: Any, passages: list[str]) -> None:
    constraint = engine.constrain(Quote(passages, ["not found"]))
    message = engine.chat(Sampling(max_tokens=40), slot="quote").invoke([("user", "\n".join(passages))], **constraint)
    assert message.content == "not found" or any(str(message.content) in passage for passage in passages)


def test_a_long_passage_is_quoted_in_whole_words(engine: Any) -> None:
    passage = " ".join(f"item{n} costs {n * 7 % 91} euros;" for n in range(200))
    chat = engine.chat(Sampling(max_tokens=12), slot="quote")
    said = str(chat.invoke([("user", "What does item77 cost?")], **engine.constrain(Quote([passage]))).content)
    assert said in passage
    at = passage.index(said)
    assert at == 0 or not (passage[at - 1].isalnum() and said[0].isalnum())


@pytest.mark.parametrize(
    ("said", "fits"),
    [
        ("This is not allowed", True),
        ("nothing else", True),
        ("not more than five", False),
        ("Not in Spain", False),
        ("Yes.\nnot more", False),
        ("nothing else\nnot more", False),
    ],
)
def test_no_quote_begins_with_a_barred_word(said: str, fits: bool) -> None:
    text = "This is not allowed, not more than five days. nothing else\nNot in Spain"
    rules = grammar.quote_grammar(Quote([text], openings=["Yes.", "No."], most=3, barred=["not"]))
    tokens = LLTokenizer("byte")
    given = tokens.tokenize_str(said)
    assert (LLMatcher(tokens, rules).validate_tokens(given) == len(given)) is fits


@pytest.mark.parametrize("alternative", ["not found", 'say "no"', "ne pas trouvé\n"])
def test_alternatives_alone(engine: Any, alternative: str) -> None:
    constraint = engine.constrain(Quote([" "], [alternative]))
    assert engine.chat().invoke(FRANCE, **constraint).content == alternative


leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"type": "integer", "minimum": 0, "maximum": 99}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": "string", "maxLength": 5}),
    st.just({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}),
    st.lists(st.sampled_from(["a", "b", 'q"', "é", 3, None]), min_size=1, unique=True).map(lambda v: {"enum": v}),
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda s: {"type": "array", "items": s, "maxItems": 2}),
        st.dictionaries(st.sampled_from(["name", "größe", 'k"']), inner, min_size=1, max_size=3).map(
            lambda p: {"type": "object", "properties": p, "required": sorted(p)[:1]}
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda s: {"anyOf": s}),
    ),
    max_leaves=4,
)


@few
@given(schema=schemas)
def test_json_always_fits_its_schema(engine: Any, schema: dict[str, Any]) -> None:
    constraint = engine.constrain(Json(schema))
    message = engine.chat(Sampling(max_tokens=300), slot="json").invoke([("user", "Some JSON, please.")], **constraint)
    assert message.response_metadata["finish_reason"] == "stop"
    assert fits(json.loads(str(message.content)), schema)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """A JSON Schema check for what `schemas` makes."""
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(fits(value, one) for one in schema["anyOf"])
    match schema["type"]:
        case "object":
            known = schema["properties"]
            return set(schema["required"]) <= set(value) <= set(known) and all(
                fits(v, known[k]) for k, v in value.items()
            )
        case "array":
            return len(value) <= schema["maxItems"] and all(fits(item, schema["items"]) for item in value)
        case "string":
            return (
                type(value) is str
                and len(value) <= schema.get("maxLength", 6)
                and ("pattern" not in schema or re.search(schema["pattern"], value) is not None)
            )
        case kind:
            return type(value) is {"boolean": bool, "null": type(None), "integer": int}[kind]


def test_json_that_was_cut_off_says_so(engine: Any) -> None:
    constraint = engine.constrain(Json({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}))
    message = engine.chat(Sampling(max_tokens=3)).invoke(FRANCE, **constraint)
    assert message.response_metadata["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(str(message.content))


@pytest.mark.parametrize("schema", [{"not": {"type": "string"}}, {"type": "strin"}, {"type": "string", "format": "?"}])
def test_a_schema_that_cannot_be_enforced_is_an_error(engine: Any, schema: dict[str, Any]) -> None:
    """llama.cpp would only log it, and answer without any constraint."""
    with pytest.raises(EngineError, match="cannot enforce"):
        engine.constrain(Json(schema))


def test_what_cannot_be_enforced_may_be_let_pass(engine: Any) -> None:
    schema = {"type": "array", "items": {"enum": ["a"]}, "uniqueItems": True, "minItems": 1, "maxItems": 2}
    with pytest.raises(EngineError):
        engine.constrain(Json(schema))
    rule = engine.constrain(Json(schema, lenient=True))
    assert set(json.loads(str(engine.chat().invoke("Say it.", **rule).content))) == {"a"}


def test_objects_are_closed_unless_they_say_otherwise() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "null"}}}
    rule = grammar.json_rule({"type": "array", "items": inner})
    assert json.loads(rule.removeprefix("%json "))["items"]["additionalProperties"] is False
    for schema in (inner | {"additionalProperties": True}, {"allOf": [inner]}, {"const": inner}):
        found = json.loads(grammar.json_rule(schema).removeprefix("%json "))
        assert {k: v for k, v in found.items() if k != "x-guidance"} == schema

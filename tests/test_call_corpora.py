"""Public sets of calls as lessons: only what can be read off a request is learnt; without its function, no call is."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from metier.benchmarks.skills.call_corpora import SHARES, Telling, examples, told
from metier.benchmarks.skills.call_near import Pool, does_another_thing
from metier.benchmarks.skills.call_rows import CallRow, read_calls
from metier.specialists.functions import call_or_none, read_call
from metier.specialists.styles.act.shown_tools import SHOWN

TOPICS = "rainfall snowfall sunshine humidity pollen ozone visibility tide".split()
CITIES = "Lisbon Graz Osaka Oslo Lima Hanoi Cairo Prague".split()


def spec(name: str, about: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "description": about,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }


def station(topic: str) -> dict[str, Any]:
    city = {"type": "string", "description": "The city (e.g., Lisbon, Graz, Oslo)"}
    days = {"type": "integer", "description": "Number of days"}
    return spec(f"get{topic.capitalize()}", f"Retrieve the {topic} of a city", ["city"], city=city, days=days)


def given(**more: Any) -> dict[str, Any]:
    functions = [station(topic) for topic in TOPICS[:3]]
    call = {"name": "getRainfall", "arguments": {"city": "Graz", "days": 3}}
    row = {"id": "easy-1", "question": "How much rain fell in Graz in the last 3 days?", "answer": [call]}
    return {"functions": functions, **row, **more}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / "call").mkdir(exist_ok=True)
    with gzip.open(folder / "call" / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read(folder: Path, name: str, *rows: dict[str, Any], barred: frozenset[str] = frozenset()) -> list[CallRow]:
    write(folder, name, [*rows])
    return [*read_calls(folder, name, barred)]


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    def rows() -> Iterator[dict[str, Any]]:
        for number in range(120):
            topic, city = TOPICS[number % 8], CITIES[number % 7]
            call = {"name": station(topic)["name"], "arguments": {"city": city, "days": number % 9 + 2}}
            others = [station(TOPICS[(number + step) % 8]) for step in (1, 2, 3)]
            task = f"Tell me the {topic} in {city} for the last {number % 9 + 2} days."
            yield given(id=f"easy-{number}", question=task, functions=[station(topic), *others], answer=[call])

    for name in SHARES:
        write(tmp_path, name, [*rows()] if name == "seal_tools" else [])
    return tmp_path


def test_calls_fit_what_is_shown_and_none_is_right_without_their_function(corpora: Path) -> None:
    rows = [row for _, row in told(corpora, random.Random(2), share=0.05)]
    none = 0
    for row in rows:
        assert 0 < len(row.functions) <= SHOWN
        call = read_call(row.example.answer)
        assert Draft202012Validator(call_or_none(row.functions)).is_valid(json.loads(row.example.answer))
        topic = next(t for t in TOPICS if f" {t} " in row.task)
        there = [f for f in row.functions if topic in f["description"]]
        assert bool(there) is (call is not None)
        assert call is None or call.name == there[0]["name"]
        none += call is None
    assert 0.15 < none / len(rows) < 0.35
    assert [*examples(corpora, random.Random(2), 0.05)] == [row.example for row in rows], "chance comes from the dice"


def test_functions_that_figures_are_made_on_are_never_shown(corpora: Path) -> None:
    hidden = {"weather.get_rainfall"}
    made = [*examples(corpora, random.Random(1), 0.05, hidden)]
    assert made
    assert not [e for e in made if "rainfall" in e.messages[0]["content"].lower()]


@pytest.mark.parametrize(
    "arguments",
    [
        {"city": "Oslo"},  # nobody said it
        {"city": "Graz", "days": 4},
        {"city": "Graz", "days": "three"},  # not the type
        {"city": "Graz", "hours": 3},  # no such argument
        {"days": 3},  # the city is needed
    ],
)
def test_calls_that_cannot_be_read_off_the_request_are_left_out(tmp_path: Path, arguments: Mapping[str, Any]) -> None:
    assert len(read(tmp_path, "seal_tools", given())) == 1
    assert not read(tmp_path, "seal_tools", given(answer=[{"name": "getRainfall", "arguments": arguments}]))


def test_a_request_for_several_things_is_parted_by_its_sentences(tmp_path: Path) -> None:
    task = "Get the rainfall of Graz. Then, get the snowfall of Oslo for 5 days. Finally, I also need its sunshine."
    calls = [
        {"name": "getRainfall", "arguments": {"city": "Graz"}},
        {"name": "getSnowfall", "arguments": {"city": "Oslo", "days": 5}},
    ]
    rows = read(tmp_path, "seal_tools", given(id="difficult-1", question=task, answer=calls))
    assert [(row.task, row.name) for row in rows] == [
        ("Get the rainfall of Graz.", "getRainfall"),
        ("Get the snowfall of Oslo for 5 days.", "getSnowfall"),
    ]


def test_earlier_turns_are_shown_as_the_product_shows_them(tmp_path: Path) -> None:
    history = [
        "User: Is it wet in Graz?",
        'Call: getHumidity(city="Graz")',
        "Tool: 80 %",
    ]
    call = {"name": "getRainfall", "arguments": {"city": "Graz"}}
    (row,) = read(
        tmp_path, "dria_pythonic", given(question="Ann: And its rainfall in the city?", history=history, answer=[call])
    )
    assert row.example.messages[-1]["content"] == (
        "Earlier question: Is it wet in Graz?\n\nEarlier answer: 80 %\n\nQuestion: And its rainfall in the city?"
    )


def test_words_in_a_schema_become_what_they_are(tmp_path: Path) -> None:
    seats = {"type": "string", "enum": ["1", "2", "3"], "description": "Seats"}
    shared = {"type": "string", "enum": ["True", "False"], "description": "Whether shared"}
    ride = spec("GetRide", "Book a cab", ["number_of_seats"], number_of_seats=seats, shared=shared)
    arguments = {"number_of_seats": "2", "shared": "True"}
    row = given(
        question="Book me a shared cab with two seats please",
        functions=[ride],
        answer=[{"name": "GetRide", "arguments": arguments}],
    )
    (taken,) = read(tmp_path, "sgd_calls", row)
    assert taken.arguments == {"number_of_seats": 2, "shared": True}
    assert json.loads(taken.example.answer)["arguments"] == {"number_of_seats": 2, "shared": True}


@pytest.mark.parametrize(
    ("name", "about", "other"),
    [
        ("getSnowfall", "Retrieve the snowfall of a city", True),
        ("fetch_rainfall", "Fetches the rainfall for a city", False),
        ("get_city_data", "Retrieve data of a city", False),
        ("deleteRainfall", "Delete records of the rainfall", True),
    ],
)
def test_what_may_be_meant_as_well_is_no_neighbour(name: str, about: str, *, other: bool) -> None:
    task = "How much rain fell in Graz?"
    assert does_another_thing(spec(name, about, []), station("rainfall"), task) is other


def test_an_argument_that_is_said_in_a_further_sentence_is_in_the_call() -> None:
    row = CallRow("Get the rainfall of Graz.", (station("rainfall"),), "getRainfall", {"city": "Graz"})
    tell = Telling(random.Random(0), Pool([station(topic) for topic in TOPICS]))
    told_rows = [tell(row) for _ in range(300)]
    longer = [r for r in told_rows if r.name and r.task != row.task]
    assert longer
    assert all(len(r.arguments) == 2 for r in longer)
    assert all(r.arguments.keys() == {"city"} for r in told_rows if r.name and r.task == row.task)
    assert {r.name for r in told_rows if r.name} >= {"getRainfall", "get_rainfall", "rainfall.get", "GetRainfall"}
    listed = [r for r in told_rows if r.name and "enum" in r.right["parameters"]["properties"]["city"]]
    assert {r.arguments["city"] for r in listed} == {"Graz", "graz"}

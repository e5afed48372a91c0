"""Plans before they run: every seeded fault is found, with its place; templates, files, what users of OpenSSA bring."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from metier.agents.workflows.files import (
    check_file,
    import_knowledge,
    import_programs,
    read_plan,
    read_plans,
    write_plan,
)
from metier.agents.workflows.plan import AskStep, Known, KnownSpecialist, KnownTool, Parameter, Plan
from metier.agents.workflows.results import Data, Items, Number, Skipped, Table, Text, of_answer, of_value
from metier.agents.workflows.steps import read_parameters
from metier.agents.workflows.template import fill, fill_text
from metier.core.errors import ConfigError, InputError
from metier.core.types import Answer, Citation
from metier.tests.workflow_team import week
from metier.tools.policy import Effects, TeamRules

WRITES = Effects(effect="write", untrusted_output=False, sensitive=False)
READS = Effects(effect="read", untrusted_output=True, sensitive=False)
ORDER = {
    "properties": {"part": {"type": "string"}, "count": {"type": "integer"}, "to": {"type": "array"}},
    "required": ["part"],
}
SUB = Plan.of("sub", parameters={"month": Parameter(type="integer")}, one=AskStep(ask="figures", task="{{ month }}"))
LOOP = Plan.of("loop", again={"workflow": "week"})
KNOWN = Known(
    specialists={
        "figures": KnownSpecialist(gives="table", untrusted=False),
        "manuals": KnownSpecialist(gives="text"),
        "clerk": KnownSpecialist(gives="text", acts=True),
    },
    tools={
        "clerk.order": KnownTool(effects=WRITES, parameters=ORDER),
        "clerk.fetch": KnownTool(effects=READS, parameters={"properties": {"address": {"type": "string"}}}),
        "clerk.look": KnownTool(effects=READS),
        "manuals.look": KnownTool(effects=READS),
        "clerk.wire": KnownTool(effects=WRITES),
    },
    workflows={"sub": SUB, "loop": LOOP},
    rules=TeamRules(deny=("wire*",)),
)
NOBODY = KNOWN.model_copy(update={"people": False})
STRICT = KNOWN.model_copy(update={"rules": TeamRules(untrusted="deny")})

GOOD = week(
    parameters={"limit": {"type": "integer", "default": 3}},
    steps={
        "downtime": {"ask": "figures", "task": "The {{ limit }} longest at {{ site }}?"},
        "approve": {"ask_person": "Send {{ hours }}?", "choices": ["send", "hold"]},
        "report": {"report": "week.docx", "template": "# Week {{ hours }} {{ advice }}", "after": ["approve"]},
    },
    result="report",
)


def changed(**steps: Any) -> dict[str, Any]:
    """The good plan with other or more steps; `_parameters`, `_result` and `_budget` change those."""
    whole = {name: steps.pop(f"_{name}") for name in ("parameters", "result", "budget") if f"_{name}" in steps}
    parameters = {**GOOD["parameters"], **whole.pop("parameters", {})}
    return {**GOOD, "parameters": parameters, "steps": {**GOOD["steps"], **steps}, **whole}


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "two steps wait for each other": (
        changed(a={"join": "{{ b }}"}, b={"join": "{{ a }}"}),
        "steps.a",
        "a → b → a",
    ),
    "three wait by order alone": (
        changed(a={"join": "x", "after": ["c"]}, b={"join": "x", "after": ["a"]}, c={"join": "x", "after": ["b"]}),
        "steps.",
        "wait for each other",
    ),
    "a step uses itself": (changed(a={"join": "{{ a }}"}), "steps.a.join", "own result"),
    "unknown step": (changed(a={"join": "{{ downtme }}"}), "steps.a.join", "did you mean 'downtime'"),
    "unknown parameter": (changed(a={"ask": "manuals", "task": "{{ sight }}"}), "steps.a.task", "'sight'"),
    "unknown field": (changed(a={"join": "{{ downtime.row }}"}), "steps.a.join", "did you mean 'rows'"),
    "unknown specialist": (changed(a={"ask": "figure", "task": "x"}), "steps.a.ask", "did you mean 'figures'"),
    "unknown tool": (changed(a={"tool": "ordr", "arguments": {}}), "steps.a.tool", "unknown tool 'ordr'"),
    "a tool of two specialists": (changed(a={"tool": "look"}), "steps.a.tool", "say which: clerk.look, manuals.look"),
    "unknown workflow": (changed(a={"workflow": "sup"}), "steps.a.workflow", "did you mean 'sub'"),
    "unknown step to follow": (changed(a={"join": "x", "after": ["aprove"]}), "steps.a.after", "'approve'"),
    "unknown result": (changed(_result="reprot"), "result", "did you mean 'report'"),
    "inside a loop, from outside": (changed(a={"join": "{{ quote }}"}), "steps.a.join", "'quote'"),
    "unknown filter": (changed(a={"join": "{{ site | uper }}"}), "steps.a.join", "did you mean 'upper'"),
    "half a template": (changed(a={"join": "{{ site"}), "steps.a.join", "no template"),
    "a file read from a template": (changed(a={"join": "{% include 'x' %}"}), "steps.a.join", "not allowed"),
    "a loop over text": (
        changed(a={"for_each": "{{ downtime.text }}", "at_most": 3, "steps": {"b": {"join": "{{ item }}"}}}),
        "steps.a.for_each",
        "is a text, and not a list",
    ),
    "a loop over a number": (
        changed(a={"for_each": "{{ hours }}", "at_most": 3, "steps": {"b": {"join": "{{ item }}"}}}),
        "steps.a.for_each",
        "is a number",
    ),
    "a loop without a bound": (
        changed(a={"for_each": "{{ downtime.rows }}", "steps": {"b": {"join": "{{ item }}"}}}),
        "steps.a.at_most",
        "needs a bound",
    ),
    "a loop that hides a name": (
        changed(a={"for_each": "{{ downtime.rows }}", "as": "site", "at_most": 2, "steps": {"b": {"join": "x"}}}),
        "steps.a.as",
        "'site' is taken",
    ),
    "a fault inside a loop": (
        changed(a={"for_each": "{{ downtime.rows }}", "at_most": 2, "steps": {"b": {"ask": "nobody", "task": "x"}}}),
        "steps.a.steps.b.ask",
        "unknown specialist 'nobody'",
    ),
    "the sum of a table": (changed(a={"calculate": "2 * {{ downtime }}"}), "steps.a.calculate", r"downtime\.column"),
    "text for a number": (
        changed(a={"tool": "order", "arguments": {"part": "x", "count": "{{ advice }}"}}),
        "steps.a.arguments.count",
        "is a items, and no integer",
    ),
    "a word for a number": (
        changed(a={"tool": "order", "arguments": {"part": "x", "count": "three"}}),
        "steps.a.arguments.count",
        "no integer",
    ),
    "text for a list": (
        changed(a={"tool": "order", "arguments": {"part": "x", "to": "{{ site }}"}}),
        "steps.a.arguments.to",
        "is a string, and no array",
    ),
    "unknown argument": (
        changed(a={"tool": "order", "arguments": {"part": "x", "cuont": 3}}),
        "steps.a.arguments.cuont",
        "did you mean 'count'",
    ),
    "missing argument": (changed(a={"tool": "order"}), "steps.a.arguments", "'part' is missing"),
    "missing argument of a workflow": (changed(a={"workflow": "sub"}), "steps.a.arguments", "'month' is missing"),
    "wrong argument of a workflow": (
        changed(a={"workflow": "sub", "arguments": {"month": "{{ site }}"}}),
        "steps.a.arguments.month",
        "is a string, and no integer",
    ),
    "a workflow that runs itself": (changed(a={"workflow": "loop"}), "steps.a.workflow", "without end"),
    "a forbidden tool": (changed(a={"tool": "wire"}), "steps.a.tool", "does not allow 'wire'"),
    "an effect that may happen twice": (
        changed(a={"tool": "order", "arguments": {"part": "x"}, "attempts": 3}),
        "steps.a.attempts",
        "may happen twice",
    ),
    "an effect from the cache": (
        changed(a={"tool": "order", "arguments": {"part": "x"}, "cache": True}),
        "steps.a.cache",
        "changes something",
    ),
    "who acts, twice": (changed(a={"ask": "clerk", "task": "x", "attempts": 2}), "steps.a.attempts", "once"),
    "a condition that is text": (changed(a={"condition": "hours > 3"}), "steps.a.condition", "no condition"),
    "a step that never runs": (
        changed(a={"join": "x", "when": "{{ 1 > 2 }}"}),
        "steps.a.when",
        "the same in every run",
    ),
    "choices and a type": (
        changed(a={"ask_person": "?", "choices": ["a", "b"], "type": "number"}),
        "steps.a.type",
        "not both",
    ),
    "one choice": (changed(a={"ask_person": "?", "choices": ["a"]}), "steps.a.choices", "two or more"),
    "a report of no kind": (changed(a={"report": "week.doc", "template": "x"}), "steps.a.report", r"\.docx"),
    "a report elsewhere": (changed(a={"report": "../week.md", "template": "x"}), "steps.a.report", "leads out"),
    "the same file twice": (changed(a={"report": "week.docx", "template": "x"}), "steps.a.report", "'week.docx', too"),
    "a sum planned anew": (
        changed(a={"calculate": "1 + 1", "on_failure": "replan"}),
        "steps.a.on_failure",
        "only a question",
    ),
    "a default that is not possible": (
        changed(_parameters={"limit": {"type": "integer", "default": 30, "maximum": 10}}),
        "parameters.limit.default",
        "30 is more than 10",
    ),
    "bounds the wrong way round": (
        changed(_parameters={"limit": {"type": "integer", "minimum": 5, "maximum": 2}}),
        "parameters.limit",
        "above its maximum",
    ),
    "a value of another type": (
        changed(_parameters={"limit": {"type": "integer", "enum": [1, "two"]}}),
        "parameters.limit.enum",
        "'two' is no integer",
    ),
    "a name with a meaning": (changed(today={"join": "x"}), "steps.today", "has a meaning"),
    "a step called as a parameter": (changed(site={"join": "x"}), "steps.site", "already"),
    "more steps than allowed": (changed(_budget={"steps": 8}), "budget.steps", "11 steps"),
    "longer than the whole": (
        changed(a={"ask": "manuals", "task": "x", "seconds": 900}, _budget={"seconds": 60}),
        "steps.a.seconds",
        "more than the 60 s",
    ),
}
AROUND: dict[str, tuple[dict[str, Any], Known, str, str]] = {
    "nobody to ask": (changed(), NOBODY, "steps.approve", "keeps no runs"),
    "nobody to ask when it fails": (
        changed(a={"join": "x", "on_failure": "ask"}),
        NOBODY,
        "steps.a.on_failure",
        "keeps no runs",
    ),
    "an effect of what strangers wrote": (
        changed(a={"tool": "order", "arguments": {"part": "all of {{ advice }}"}}),
        STRICT,
        "steps.a.tool",
        "after text from outside",
    ),
    "nobody to approve it": (
        changed(
            a={"tool": "fetch", "arguments": {"address": "x"}}, b={"tool": "order", "arguments": {"part": "{{ a }}"}}
        ),
        NOBODY,
        "steps.b.tool",
        "a person must approve",
    ),
}


@pytest.mark.parametrize(
    ("plan", "known", "where", "what"),
    [(plan, KNOWN, where, what) for plan, where, what in FAULTS.values()] + [*AROUND.values()],
    ids=[*FAULTS, *AROUND],
)
def test_every_seeded_fault_is_found(plan: dict[str, Any], known: Known, where: str, what: str) -> None:
    faults = Plan.model_validate(plan).check(known)
    found = [fault for fault in faults if fault.blocking and fault.where.startswith(where)]
    assert any(re.search(what, str(fault)) for fault in found), [*map(str, faults)]


def test_a_good_plan_has_no_fault() -> None:
    assert Plan.model_validate(GOOD).check(KNOWN) == []
    assert len(FAULTS) + len(AROUND) >= 30


def test_what_is_for_nothing_is_told_and_does_not_stop_the_plan() -> None:
    plan = Plan.model_validate(changed(idle={"join": "x"}, _parameters={"unused": {"default": "x"}}))
    assert [(fault.where, fault.blocking) for fault in plan.check(KNOWN)] == [
        ("parameters.unused", False),
        ("steps.idle", False),
    ]


def test_all_faults_of_a_file_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "week.yaml"
    file.write_text(
        "steps:\n"
        "  one: {ask: figure, task: x}\n"
        "  two:\n"
        "    for_each: '{{ one.rows }}'\n"
        "    steps:\n"
        "      in: {join: '{{ nobody }}'}\n"
    )
    with pytest.raises(ConfigError) as error:
        read_plan(file, KNOWN)
    told = str(error.value).splitlines()
    assert [re.sub(r".*yaml:", "", line).partition(": ")[0] for line in told] == ["2", "3", "6", "6"]
    assert [line for line, _ in check_file(file, KNOWN)] == [2, 3, 6, 6]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("steps:\n  one: {ask: figures, tsk: x}\n", 2, "did you mean 'task'"),
        ("steps:\n  one:\n    for_each: x\n    at_most: five\n    steps: {a: {join: x}}\n", 4, "found 'five'"),
        ("steps:\n  one: {join: x}\n  two: {aks: me}\n", 3, "did you mean 'ask'"),
        ("steps:\n  one: {join: x}\n  two: {say: me}\n", 3, "not one step: .* found say"),
        ("steps:\n  one: {ask: figures, tool: find, task: x}\n", 2, "exactly one .* found ask, tool, task"),
        ("steps:\n  one: {ask: figures, task: {{ what }}}\n", 2, "stands in quotes"),
        ("description: {{ what }} happened\nsteps:\n  one: {join: x}\n", 1, "stands in quotes"),
        ("steps:\n  one:\n    ask: figures\n     task: x\n", 4, "indent it like its neighbours"),
        ("steps:\n  - ask: figures\n    task: x\n", 1, "should be a mapping"),
        ("steps:\n  one: {ask_person: well, choices: 'yes, no'}\n", 2, "should be a list"),
        ("steps: {}\n", 1, "at least 1"),
        ("steps:\n  One: {join: x}\n", 2, "pattern"),
    ],
)
def test_a_file_that_is_no_plan(tmp_path: Path, text: str, line: int, what: str) -> None:
    file = tmp_path / "week.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=what) as error:
        read_plan(file)
    assert error.value.line == line


def test_a_step_of_a_loop_that_is_used_outside_it(tmp_path: Path) -> None:
    loop = {"for_each": "{{ 'a b'.split() }}", "at_most": 2, "steps": {"inner": {"join": "{{ item }}"}}}
    plan = Plan.model_validate({"steps": {"each": loop, "said": {"join": "{{ inner }}"}}})
    (fault,) = [one for one in plan.check() if one.blocking]
    assert "{% for one in each.items %}{{ one.inner }}{% endfor %}" in fault.hint


def test_a_plan_is_written_and_read_again(tmp_path: Path) -> None:
    plan = Plan.model_validate(GOOD)
    write_plan(plan, tmp_path / "workflows" / "anything.yaml")
    assert read_plans(tmp_path) == {"week": plan}
    assert [(a, b) for a, b in plan.graph().edges if b == "report"] == [
        ("advice", "report"),
        ("hours", "report"),
        ("approve", "report"),
    ]


PROGRAMS = """
margin:
  task: |-
    What is the operating margin of {COMPANY} in {FISCAL PERIOD}?
  sub-htps:
    - task: What is the revenue of {COMPANY} in {FISCAL PERIOD}?
    - task: What is the operating income of {COMPANY} in {FISCAL PERIOD}?
      sub-htps:
        - task: What does {COMPANY} call its operating income?
plain: "How large is {COMPANY}?"
"""


def test_expert_programs_of_openssa_become_plans(tmp_path: Path) -> None:
    (tmp_path / "programs.yaml").write_text(PROGRAMS)
    plans = import_programs(tmp_path / "programs.yaml", ask="figures")
    plan = plans["margin"]
    assert plan.check(KNOWN) == []
    assert list(plan.parameters) == ["company", "fiscal_period"]
    assert plan.examples == ("What is the operating margin of company in fiscal period?",)
    assert set(plan.graph().edges) == {
        ("answer_1", "answer"),
        ("answer_2_1", "answer_2"),
        ("answer_2", "answer"),
    }
    last = plan.steps["answer"]
    assert isinstance(last, AskStep)
    assert fill(last.facts[0], {"company": "X", "fiscal_period": "2024", "answer_1": Text(text="12")}) == (
        "What is the revenue of X in 2024? 12"
    )
    assert list(plans["plain"].steps) == ["answer"]


def test_knowledge_of_openssa_becomes_facts(tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("margin: |\n  income over\n  revenue\nlist: [a, b]\n")
    assert import_knowledge(tmp_path / "k.yaml") == ["margin: income over revenue", "list: a", "list: b"]


@pytest.mark.parametrize("text", ["a: {sub-htps: []}\n", "a: 3\n", "a: {task: x, sub-htps: y}\n"])
def test_what_is_no_program_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "programs.yaml").write_text(text)
    with pytest.raises(ConfigError, match="a"):
        import_programs(tmp_path / "programs.yaml")


CITED = Text(text="every week", citations=(Citation(source="m.pdf", quote="weekly", start=0, end=6),))
SCOPE = {
    "downtime": Table(
        columns=("machine", "hours"), rows=({"machine": "A", "hours": 3}, {"machine": "B", "hours": 4.5})
    ),
    "site": "North",
    "gone": Skipped(reason="no rows"),
    "note": Data(value={"items": [{"part": "B-7"}], "supplier": {"name": "X"}}),
    "quote": CITED,
    "hours": Number(value=7.5, unit="h"),
    "each": Items(items=({"row": Data(value={"machine": "A"}), "quote": CITED},)),
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ downtime.rows }}", ({"machine": "A", "hours": 3}, {"machine": "B", "hours": 4.5})),
        ("{{ downtime.column('hours') }}", [3, 4.5]),
        ("sum({{ downtime.column('hours') }})", "sum(3, 4.5)"),
        ("{{ downtime.rows | length > 1 }}", True),
        ("{{ note.items[0].part }} of {{ note.supplier.name }}", "B-7 of X"),
        ("{{ each.items[0].row.machine }}: {{ each.items[0].quote }}", "A: every week"),
        ("{% for one in each.items %}{{ one.quote.text | upper }}{% endfor %}", "EVERY WEEK"),
        ("{{ downtime | length }} {{ quote | length }} {{ each | length }}", "2 10 1"),
        ("{% for row in downtime %}{{ row.machine }}{% endfor %}", "AB"),
        ("{{ hours }} at {{ site }}", "7.5 h at North"),
        ("{{ gone.rows | length }}{% for x in gone.items %}!{% endfor %}", "0"),
        ("{{ gone }}", SCOPE["gone"]),
        ("so: {{ gone }}", "so: (left out: no rows)"),
        ("{% if gone or not downtime %}yes{% else %}no{% endif %}", "no"),
        ("{{ '12' }}", "12"),
        ("nothing at all", "nothing at all"),
    ],
)
def test_what_templates_give(template: str, value: Any) -> None:
    assert fill(template, SCOPE) == value


@pytest.mark.parametrize(
    "template",
    [
        "{{ nobody }}", "{{ downtime.row }}", "{{ note.nothing }}", "{{ downtime.column('weight') }}",
        "{{ quote.model_dump() }}", "{{ quote.parse_file('x') }}", "{{ ''.__class__.__mro__ }}",
        "{{ 'a' * 10000000000 }}", "{{ 2 ** 9999 }}", "{{ 1 / 0 }}", "{{ range(99999999) | list }}",
        "{{ quote | attr('model_dump') }}",
    ],
)  # fmt: skip
def test_what_templates_refuse(template: str) -> None:
    with pytest.raises(InputError):
        fill(f"- {template}", SCOPE)


def test_text_in_values_is_never_a_template() -> None:
    assert fill("{{ site }}", {"site": "{{ 1 / 0 }}"}) == "{{ 1 / 0 }}"


def test_text_keeps_its_citations_on_the_way_into_a_template() -> None:
    seen: list[Any] = []
    fill_text("{{ quote }} {{ quote.text }} {{ each.items[0].quote.text }}", SCOPE, lambda v: seen.append(v) or "")
    assert [one.citations for one in seen] == [CITED.citations] * 3


def test_answers_become_typed_results() -> None:
    rows = [{"a": 1}, {"a": 2}]
    table = of_answer(Answer(text="1\n2", data=rows, citations=CITED.citations))
    assert isinstance(table, Table)
    assert (table.column("a"), table.citations) == ([1, 2], CITED.citations)
    assert [of_value(value).kind for value in (True, 3, "x", {"a": 1}, [1, 2])] == [
        "truth", "number", "text", "data", "data",
    ]  # fmt: skip
    assert of_answer(Answer(text="red", data="red")) == Text(text="red", confidence=0.0)


WANTED = {
    "site": Parameter(enum=("North", "South"), description="which site"),
    "limit": Parameter(type="integer", default=3, maximum=10),
    "urgent": Parameter(type="boolean", default=False),
    "parts": Parameter(type="array", default=()),
}


def test_parameters_as_people_type_them() -> None:
    given = {"site": "North", "limit": "5", "urgent": "yes", "parts": "a,b"}
    assert read_parameters(given, WANTED) == {"site": "North", "limit": 5, "urgent": True, "parts": ["a", "b"]}
    assert read_parameters({"site": "South"}, WANTED)["limit"] == 3


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, r"'site' is missing \(which site\)"),
        ({"site": "Nroth"}, "did you mean 'North'"),
        ({"site": "North", "limit": "11"}, "11 is more than 10"),
        ({"site": "North", "limit": "x"}, "'x' is no integer"),
        ({"site": "North", "limt": 1}, "did you mean 'limit'"),
        ({"site": "North", "urgent": 1}, "no boolean"),
    ],
)
def test_wrong_parameters_are_told(given: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        read_parameters(given, WANTED)

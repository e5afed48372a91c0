"""`workflows/NAME.yaml` beside team.yaml ↔ plans; and what users of OpenSSA bring: programs of tasks within tasks."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, RootModel, ValidationError
from ruamel.yaml import YAML

from ...core.errors import ConfigError
from ...core.files import write_atomic
from ...core.yaml import load_with_lines, load_yaml, mistakes_in
from .plan import AskStep, Fault, Known, Parameter, Plan

FOLDER = "workflows"
"""Beside team.yaml."""
SHIPPED = Path(__file__).parent / "shipped"
"""The workflows that come with metier."""


def read_plan(path: Path, known: Known | None = None) -> Plan:
    """The plan in a file; without a `name` in it, it has the file's.

    Args:
        known: What there is around it; then it is checked, too.

    Raises:
        ConfigError: the file is wrong, or the plan cannot run: all that is wrong at once, each with its line.
    """
    plan, line = load_with_lines(path, Plan)
    if "name" not in plan.model_fields_set:
        plan = plan.model_copy(update={"name": _name(path.stem)})
    wrong = [fault for fault in plan.check(known) if fault.blocking] if known else []
    if wrong:
        raise mistakes_in(path, [(line(fault.at), fault.where, _words(fault)) for fault in wrong])
    return plan


def check_file(path: Path, known: Known | None) -> list[tuple[int, Fault]]:
    """All that is wrong with a file that can be read, each with its line; what only looks wrong, too.

    Raises:
        ConfigError: it cannot be read as a plan.
    """
    plan, line = load_with_lines(path, Plan)
    if "name" not in plan.model_fields_set:
        plan = plan.model_copy(update={"name": _name(path.stem)})
    return [(line(fault.at), fault) for fault in plan.check(known)]


def read_plans(root: Path) -> dict[str, Plan]:
    """The workflows of a team, by name. Whether they fit the team is checked when they are used.

    Raises:
        ConfigError: a file is wrong, or two have the same name.
    """
    plans = dict[str, Plan]()
    for path in sorted((root / FOLDER).glob("*.yaml")):
        plan = read_plan(path)
        if plan.name in plans:
            raise ConfigError(f"there is a workflow '{plan.name}' already", file=path, field="name")
        plans[plan.name] = plan
    return plans


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan so that `read_plan` gives it again; what is as usual is left out."""
    yaml = YAML(typ="rt")
    yaml.width = 120
    yaml.default_flow_style = False
    said = io.StringIO()
    yaml.dump(_plain(plan.model_dump(mode="json", by_alias=True, exclude_defaults=True)), said)
    write_atomic(path, said.getvalue())


def _plain(value: Any) -> Any:
    """Without what is empty."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if part not in ((), [], {}, "")}
    return value


def _words(fault: Fault) -> str:
    return f"{fault.what}{f' → {fault.hint}' if fault.hint else ''}"


def _name(text: str) -> str:
    """A name for a plan out of any text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "plan"


# OpenSSA: a file of named programs. Each is a task in words, with placeholders as `{COMPANY}`, and the tasks that it is
# made of under one of these names, to any depth.

_INSIDE = ("sub-htps", "sub-plans", "sub-tasks", "sub_htps", "sub_plans", "sub_tasks", "subs")
_WORDS = ("ask", "goal", "task", "what", "description")
_PLACEHOLDER = re.compile(r"\{([A-Za-z][A-Za-z0-9_ -]*)\}")


class _Programs(RootModel[dict[str, Any]]):
    """Name to program."""


class _Program(BaseModel):
    task: str
    inside: tuple[_Program, ...] = ()


def import_programs(path: Path, ask: str = "team") -> dict[str, Plan]:
    """Expert programs of OpenSSA as plans: `{PLACEHOLDER}` becomes a parameter, the innermost tasks are asked side by
    side, and what they give are the facts with which the task around them is asked.

    Args:
        path: A YAML file of name → program.
        ask: Who is asked: a specialist, or the team's router.

    Raises:
        ConfigError: the file is no such program.
    """
    programs = load_yaml(path, _Programs).root
    return {_name(name): _plan(_name(name), _program(program, name, path), ask) for name, program in programs.items()}


def import_knowledge(path: Path) -> list[str]:
    """OpenSSA's knowledge file as facts: a text, or a list or mapping of texts.

    Raises:
        ConfigError: it is not YAML.
    """
    if path.suffix in (".txt", ".md"):
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return list(_facts(load_yaml(path, RootModel[Any]).root))


def _facts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (" ".join(part.split()) for part in value.split("\n\n") if part.strip())
    elif isinstance(value, Mapping):
        yield from (f"{name}: {fact}" for name, part in value.items() for fact in _facts(part))
    elif isinstance(value, Sequence):
        yield from (fact for part in value for fact in _facts(part))


def _program(given: Any, field: str, path: Path) -> _Program:
    if isinstance(given, str):
        return _Program(task=given)
    if not isinstance(given, Mapping):
        raise ConfigError("is no program: a task, and the tasks that it is made of", file=path, field=field)
    said = given.get("task", next((given[word] for word in _WORDS if word in given), None))
    if isinstance(said, Mapping):
        said = next((said[word] for word in _WORDS if word in said), None)
    if not isinstance(said, str) or not said.strip():
        raise ConfigError("has no task in words", file=path, field=field, hint="task: what is to be done")
    inside = next((given[word] for word in _INSIDE if given.get(word)), ())
    if not isinstance(inside, Sequence) or isinstance(inside, str):
        raise ConfigError("the tasks inside are no list", file=path, field=field)
    parts = tuple(_program(part, f"{field}[{number}]", path) for number, part in enumerate(inside))
    return _Program(task=" ".join(said.split()), inside=parts)


def _plan(name: str, program: _Program, ask: str) -> Plan:
    steps, slots = dict[str, Any](), dict[str, str]()
    last = _add(program, "answer", steps, slots, ask)
    parameters = {slot: Parameter(description=f"for {{{said}}}") for slot, said in slots.items()}
    words = _PLACEHOLDER.sub(lambda match: match[1].lower().replace("_", " "), program.task)
    try:
        return Plan(
            name=name, description=words, examples=(words,), parameters=parameters, steps=steps, result=last
        )  # fmt: skip
    except ValidationError as error:
        raise ConfigError(f"program '{name}' makes no plan: {error.errors()[0]['msg']}") from error


def _add(program: _Program, at: str, steps: dict[str, Any], slots: dict[str, str], ask: str) -> str:
    """The steps of a program, innermost first; gives the name of its own."""

    def slot(match: re.Match[str]) -> str:
        named = re.sub(r"[^a-z0-9]+", "_", match[1].lower()).strip("_")
        named = named if named[:1].isalpha() else f"slot_{named}"
        slots.setdefault(named, match[1])
        return f"{{{{ {named} }}}}"

    parts = [_add(part, f"{at}_{number}", steps, slots, ask) for number, part in enumerate(program.inside, 1)]
    task = _PLACEHOLDER.sub(slot, program.task)
    pairs = zip(program.inside, parts, strict=True)
    facts = tuple(f"{_PLACEHOLDER.sub(slot, part.task)} {{{{ {step} }}}}" for part, step in pairs)
    steps[at] = AskStep(ask=ask, task=task, facts=facts, on_failure="fail" if at == "answer" else "skip")
    return at

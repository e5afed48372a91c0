"""Pages of the site that are made while it is built, each from what it describes: the cards, the command line, the
change log. A hook of mkdocs; nothing of metier imports it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

from metier.agents.cards import TeamCard
from metier.serving import cli
from metier.specialists.card import SpecialistCard

ROOT = Path(__file__).parent.parent
_SOURCES = Path(tempfile.mkdtemp(prefix="metier-docs-"))
"""The package alone. The reference is read from all Python files below it, and beside the package lies a lot else."""


@event_priority(100)  # before the plugin that reads it
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say where the reference is read from."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for package in packages:
        folder = Path(*package.split(".")[1:])
        (_SOURCES / "metier" / folder).mkdir(parents=True, exist_ok=True)
        for file in (ROOT / folder).glob("*.py"):
            shutil.copy(file, _SOURCES / "metier" / folder)
    python: Any = config.plugins["mkdocstrings"].config.handlers["python"]
    python["paths"] = [str(_SOURCES)]
    return config


def on_post_build(config: MkDocsConfig) -> None:
    """Take away what was made for it."""
    shutil.rmtree(_SOURCES, ignore_errors=True)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {
        "changelog.md": _changelog(),
        "reference/team-card.md": _card_page(
            "team.yaml", "Who is on a team, on which model, within which limits.", TeamCard.model_json_schema()
        ),
        "reference/specialist-card.md": _card_page(
            "specialist.yaml", "What one specialist is.", SpecialistCard.model_json_schema()
        ),
        "reference/commands.md": "\n".join(_command_page()),
    }
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def _changelog() -> str:
    """The change log, with links to the documents that it names."""
    return _linked((ROOT / "CHANGELOG.md").read_text())


def _linked(text: str, up: str = "") -> str:
    """Documents that a text names become links to them."""
    return re.sub(r"`?docs/([\w/-]+)\.md`?", rf"[\1]({up}\1.md)", text)


# Cards.


def _card_page(file: str, about: str, schema: dict[str, Any]) -> str:
    """A page of tables: the card, then each of its sections."""
    parts: dict[str, dict[str, Any]] = {name: part for name, part in schema.pop("$defs", {}).items() if _fields(part)}
    lines = [f"# {file}", "", f"{about} Fields that are left out have the default; unknown fields are errors.", ""]
    lines += _table(schema, parts)
    for name, part in parts.items():
        where = _places(name, {file: schema, **parts})
        lines += ["", f"## {where} {{#{name.lower()}}}", "", _said(part), "", *_table(part, parts)]
    return "\n".join(lines) + "\n"


def _fields(part: dict[str, Any]) -> dict[str, Any]:
    return part.get("properties", {})


def _places(name: str, parts: dict[str, dict[str, Any]]) -> str:
    """The fields that hold this section, as one writes them."""
    found = [field for part in parts.values() for field, said in _fields(part).items() if f"/{name}'" in str(said)]
    return ", ".join(f"`{field}`" for field in dict.fromkeys(found))


def _table(part: dict[str, Any], sections: dict[str, dict[str, Any]]) -> list[str]:
    """A table of the fields; what is a section is told in the section's words."""
    lines = ["| field | is | left out | meaning |", "|---|---|---|---|"]
    for name, field in _fields(part).items():
        needed = name in part.get("required", ())
        default = "**needed**" if needed else _shown(field.get("default"))
        about = _said(field) or _said(sections.get(_section_of(field), {}))
        lines.append(f"| `{name}` | {_kind(field)} | {default} | {about} |")
    return lines


def _said(field: dict[str, Any]) -> str:
    return _linked(_cell(field.get("description", "")), "../")


def _cell(text: str) -> str:
    """As the text of a cell: one line, pipes kept."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def _shown(default: Any) -> str:
    if default is None or default in ({}, []):
        return ""
    if isinstance(default, dict):  # a section: its own table says what is left out
        return ""
    text = str(default).lower() if isinstance(default, bool) else str(default).replace("'", "")
    return f"`{text}`" if text else ""


def _section_of(field: dict[str, Any]) -> str:
    return field.get("$ref", "").rpartition("/")[2]


def _kind(field: dict[str, Any]) -> str:
    """The type of a field in words; a section links to its table."""
    if name := _section_of(field):
        return f"[section](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field:
        return " or ".join(f"`{one}`" for one in field["enum"])
    kind = field.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return {"string": "text", "integer": "whole number", "boolean": "`true` or `false`", "object": "mapping"}.get(
        kind, kind
    )


# Commands.


def _command_page() -> Iterator[str]:
    yield "# Commands\n"
    yield "What `metier COMMAND --help` says, on one page.\n"
    yield from _exit_codes()
    yield from _commands(typer.main.get_command(cli.app), "metier")


def _exit_codes() -> Iterator[str]:
    told = re.search(r"Exit codes: (.+)", cli.__doc__ or "", re.DOTALL)
    if told:
        yield f"Exit codes: {_cell(told[1])}\n"


def _commands(command: Any, path: str) -> Iterator[str]:
    for name, one in sorted(getattr(command, "commands", {}).items()):
        if one.hidden:
            continue
        whole = f"{path} {name}"
        yield f"## {whole}\n" if path == "metier" else f"### {whole}\n"
        yield f"{_cell(one.help or '')}\n"
        rows = [row for parameter in one.params if (row := _parameter(parameter))]
        if rows:
            yield "| argument or option | meaning | left out |\n|---|---|---|"
            yield "\n".join(rows) + "\n"
        yield from _commands(one, whole)


def _parameter(parameter: Any) -> str | None:
    if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
        return None
    argument = parameter.param_type_name == "argument"
    name = f"`{parameter.name.upper()}`" if argument else ", ".join(f"`{o}`" for o in parameter.opts)
    default = parameter.default
    shown = "" if callable(default) else _shown(str(default) if isinstance(default, Path) else default)
    return f"| {name} | {_cell(parameter.help or '')} | {'**needed**' if parameter.required else shown} |"

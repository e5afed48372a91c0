"""What `metier doctor --team` looks at: cards, documents and the last build of one team."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..agents.blueprint import Blueprint
from ..agents.card import TeamCard
from ..core.errors import MetierError
from .checks import Finding


def needed_models(card: TeamCard) -> list[str]:
    """The models that this team uses on this machine."""
    return [card.embedder] if card.served else [card.base, card.embedder]


def check_cards(blueprint: Blueprint) -> Iterator[Finding]:
    """The cards fit together, and the files of tasks that they name can be read."""
    names = ", ".join(blueprint.specialists)
    yield Finding("team", "cards", "ok", f"{blueprint.card.name}: {names}")
    for name in blueprint.specialists:
        count = len(blueprint.tasks(name))
        few = count < 2
        mend = f"add tasks to `examples` in {name}'s card: ten are a start" if few else ""
        yield Finding("team", f"{name}: examples", "note" if few else "ok", f"{count} tasks", mend)
    count = len(blueprint.outside())
    mend = "" if count else "add some to `router: outside:` in team.yaml"
    yield Finding("team", "outside tasks", "ok" if count else "note", str(count), mend)


def check_documents(blueprint: Blueprint) -> Iterator[Finding]:
    """Every document of every specialist is read once, as a build would."""
    from ..specialists.knowledge.readers import read
    from ..specialists.knowledge.sources import scan

    for name, card in blueprint.specialists.items():
        if card.knowledge is None:
            continue
        what, folder = f"{name}: documents", blueprint.folders[name]
        try:
            found = scan([folder / source for source in card.knowledge.sources], folder)
        except MetierError as error:
            yield Finding("team", what, "fail", error.message, error.hint or "")
            continue
        broken: dict[str, str] = {}
        for source, path in found.files.items():
            try:
                read(path, source)
            except MetierError as error:
                broken[source] = error.message
        good = len(found.files) - len(broken)
        left = f", {len(found.skipped)} left aside" if found.skipped else ""
        mend = "" if good else f"put documents where `sources` in {name}'s card says"
        yield Finding("team", what, "ok" if good else "fail", f"{good} readable{left}", mend)
        for source, reason in broken.items():
            yield Finding("team", f"{name}: {source}", "note", reason, "mend or remove the file; the others are used")


def check_build(blueprint: Blueprint, folder: Path) -> Iterator[Finding]:
    """There is a build, and nothing has changed since. Without one, the first question builds the team."""
    from ..agents.builder import changed_since_build

    changed = changed_since_build(blueprint)
    if changed is None:
        yield Finding("team", "build", "note", "never built", f"metier build -t {folder}")
    elif changed:
        few = ", ".join(sorted(changed)[:3])
        yield Finding("team", "build", "note", f"changed since: {few}", f"metier build -t {folder}")
    else:
        yield Finding("team", "build", "ok", f"up to date, in {blueprint.state}")

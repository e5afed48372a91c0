"""`metier doctor`: what is installed, found and missing, and the line that mends it.

A check that breaks becomes a finding of its own: this is the command for machines on which things are broken.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from ..core.errors import MetierError, install_line
from ..core.settings import available_cores, free_memory, settings
from .options import AsJson, blueprint_of, command_line, print_json

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from ..agents.cards import Blueprint
    from ..core.models import LocalModel

_LEAST_MEMORY, _LEAST_DISK = 3e9, 2e9
"""Bytes. The default models take 1.3 GB, converted ones included; a team of a few hundred pages runs in 2 GB."""

_COMPILED = {
    "xllamacpp": "xllamacpp",
    "openvino-genai": "metier.core.openvino_library",
    "llguidance": "llguidance",
    "tokenizers": "tokenizers",
    "faiss-cpu": "faiss",
    "scipy": "scipy",
}
"""Distribution to module: those that hold machine code, which may not run on this processor or system."""

_SIGN = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "fail": "[red]✗[/]"}

Status = Literal["ok", "note", "fail"]
"""`note`: worth knowing, a team runs all the same. `fail`: no team can run."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    area: str
    what: str
    status: Status
    found: str
    mend: str = ""
    """The line that mends it."""


# The machine.


def check_python() -> Iterator[Finding]:
    """The interpreter, and the SQLite in it."""
    found = f"{platform.python_version()} ({sys.executable})"
    new = sys.version_info >= (3, 11)
    yield Finding("python", "Python", "ok" if new else "fail", found, "" if new else "install Python 3.11 or newer")
    extensions = hasattr(sqlite3.Connection, "enable_load_extension")
    yield Finding(
        "python",
        "SQLite",
        "ok",
        f"{sqlite3.sqlite_version}, {'with' if extensions else 'without'} loadable extensions (not needed)",
    )


def check_libraries() -> Iterator[Finding]:
    """Every library of the base install, then every extra."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in metadata.requires("metier") or []]
    base = [r for r in wanted if _belongs(r, "")]
    for requirement in base:
        yield _installed(requirement, "libraries", "fail", f"pip install '{requirement}'")
    yield from _loadable(r.name for r in base)
    for extra in metadata.metadata("metier").get_all("Provides-Extra") or []:
        yield _extra(extra, [r for r in wanted if r not in base and r.name != "metier" and _belongs(r, extra)])


def _belongs(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _extra(extra: str, parts: Iterable[Requirement]) -> Finding:
    checked = [_installed(r, "extras", "note", "") for r in parts]
    missing = [c for c in checked if c.status != "ok"]
    found = ", ".join(f"{c.what} {c.found}" for c in missing or checked)
    if missing:
        return Finding("extras", extra, "note", found, install_line(extra))
    return Finding("extras", extra, "ok", found)


def _installed(requirement: Requirement, area: str, otherwise: Status, mend: str) -> Finding:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(area, requirement.name, otherwise, "not installed", mend)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(area, requirement.name, otherwise, f"{version}, needs {requirement.specifier}", mend)
    return Finding(area, requirement.name, "ok", version)


def _loadable(names: Iterable[str]) -> Iterator[Finding]:
    """Import the compiled ones, each in a process of its own: a wrong processor kills the process."""
    found = [name for name in names if name in _COMPILED]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, reason in zip(found, pool.map(_import_trouble, (_COMPILED[name] for name in found)), strict=True):
            if reason:
                yield Finding("libraries", name, "fail", reason, f"pip install --force-reinstall {name}")


def _import_trouble(module: str) -> str:
    command = [sys.executable, "-c", f"import {module}"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if run.returncode < 0:
        return f"import ends with {signal.Signals(-run.returncode).name}: it was compiled for another processor"
    last = run.stderr.strip().splitlines()[-1:]
    return f"import fails: {last[0] if last else run.returncode}" if run.returncode else ""


def check_machine() -> Iterator[Finding]:
    """Cores, memory, disk and the processor's abilities."""
    limits = settings()
    cores = available_cores()
    over = limits.threads > cores
    yield Finding(
        "machine",
        "cores",
        "note" if over else "ok",
        f"{cores} to be used of {os.cpu_count()}, {limits.threads} threads",
        f"export METIER_THREADS={cores}" if over else "",
    )
    flags = _processor_flags()
    shown = [name for name in ("avx", "avx2", "f16c", "fma", "avx512f", "avx512_vnni", "amx_int8") if name in flags]
    slow = platform.machine() in ("x86_64", "AMD64") and bool(flags) and "avx2" not in flags
    note = "no AVX2: answers will be slow" if slow else ", ".join(shown) or "flags unknown"
    yield Finding("machine", "processor", "note" if slow else "ok", f"{platform.machine()}: {note}")
    memory = free_memory()
    mend = "a smaller base, or close other programs: at least 3 GB should be free for a team"
    enough = memory is None or memory >= _LEAST_MEMORY
    found = f"{memory / 1e9:.1f} GB free" if memory is not None else "unknown"
    yield Finding("machine", "memory", "ok" if enough else "note", found, "" if enough else mend)


def _processor_flags() -> set[str]:
    """What the processor can do, as Linux tells it; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}


def check_home() -> Iterator[Finding]:
    """The folder of models and the room on its disk."""
    home = settings().home
    nearest = next(path for path in (home, *home.parents) if path.exists())
    usable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    mend = "" if usable else "export METIER_HOME=a folder that you can write to"
    found = f"{home}{'' if usable else f': {nearest} cannot be written to'}"
    yield Finding("home", "folder", "ok" if usable else "fail", found, mend)
    free = shutil.disk_usage(nearest if nearest.is_dir() else nearest.parent).free
    enough = free >= _LEAST_DISK
    mend = "" if enough else f"free some space: {_LEAST_DISK / 1e9:.0f} GB is enough for the models and a build"
    yield Finding("home", "disk", "ok" if enough else "note", f"{free / 1e9:.1f} GB free", mend)


def check_models(needed: Iterable[str]) -> Iterator[Finding]:
    """The models that a team needs, and the others that are here; all with their hashes."""
    from ..core.files import sha256
    from ..core.models import ModelStore

    store = ModelStore()
    here = {info.name for info in store.list() if info.pulled}
    for name in [*needed, *sorted(here - {*needed})]:
        status: Status = "fail" if name in needed else "note"
        try:
            model = store.find(name)
            wrong = [role for role, promised in model.hashes.items() if sha256(model.files[role]) != promised]
        except MetierError as error:
            yield Finding("models", name, status, error.message, error.hint or command_line("models", "pull", name))
            continue
        size = sum(path.stat().st_size for path in model.files.values()) / 1e6
        found = f"{', '.join(wrong)}: not the file that was pulled" if wrong else f"{size:.0f} MB, hashes right"
        mend = command_line("models", "pull", name) if wrong else ""
        yield Finding("models", name, status if wrong else "ok", found, mend)
        if model.kind == "base" and name in needed and not wrong:
            yield _engine_of(model)


def _engine_of(base: LocalModel) -> Finding:
    """What `engine: auto` runs a base on, and why."""
    from ..specialists.engines.speed import known_speeds, ranked_engines

    speeds, what = known_speeds(base), f"{base.name}: engine"
    if speeds is None:
        found = f"auto is {ranked_engines(base)[0]}; its speed here was not measured"
        return Finding("models", what, "note", found, command_line("models", "pull", base.name))
    told = [f"{name} {speed}" for name, speed in speeds.engines.items()]
    told += [f"{name} cannot run it ({reason})" for name, reason in speeds.failed.items()]
    return Finding("models", what, "ok", f"auto is {ranked_engines(base)[0]}: {'; '.join(told)}")


def default_models() -> list[str]:
    """What a team needs that says nothing about models."""
    from ..agents.cards import TeamCard
    from ..agents.guardrails import GUARDS_EMBEDDER

    return [*(TeamCard.model_fields[name].default for name in ("base", "embedder")), GUARDS_EMBEDDER]


# One team: its cards, documents and last build.


def needed_models(blueprint: Blueprint) -> list[str]:
    """The models that this team uses on this machine."""
    from ..agents.guardrails import GUARDS_EMBEDDER

    card = blueprint.card
    guards = [GUARDS_EMBEDDER] if "injection" in card.guardrails else []
    return list(dict.fromkeys([*([] if card.served else blueprint.bases), card.embedder, *guards]))


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
    from ..specialists.knowledge.build import scan
    from ..specialists.knowledge.readers import read

    for name, card in blueprint.specialists.items():
        if card.knowledge is None:
            continue
        what, folder = f"{name}: documents", blueprint.folders[name]
        try:
            scanned = scan([folder / source for source in card.knowledge.sources], folder)
        except MetierError as error:
            yield Finding("team", what, "fail", error.message, error.hint or "")
            continue
        broken: dict[str, str] = {}
        for source, path in scanned.files.items():
            try:
                read(path, source)
            except MetierError as error:
                broken[source] = error.message
        good = len(scanned.files) - len(broken)
        left = f", {len(scanned.skipped)} left aside" if scanned.skipped else ""
        mend = "" if good else f"put documents where `sources` in {name}'s card says"
        yield Finding("team", what, "ok" if good else "fail", f"{good} readable{left}", mend)
        for source, reason in broken.items():
            yield Finding("team", f"{name}: {source}", "note", reason, "mend or remove the file; the others are used")


def check_memory(blueprint: Blueprint) -> Iterator[Finding]:
    """What the team is expected to take, of the memory that it states and of what is free."""
    from ..agents.engines import in_gb, team_memory
    from ..core.models import ModelStore

    store, ram, free = ModelStore(), blueprint.card.ram, free_memory()
    here = {info.name for info in store.list() if info.pulled}
    asked = [] if blueprint.card.served else blueprint.bases
    need = team_memory(blueprint, {name: store.find(name) for name in asked if name in here or name.endswith(".gguf")})
    needed, found = need.total, f"needs at most {need}"
    if ram:
        need.check(ram)
        found += f", may take {in_gb(ram)}"
    if ram and ram < need.total:
        needed = need.least
        found += f": its bases are open in turn, which takes {in_gb(needed)}"
    scarce = free is not None and free < needed
    turns = f", or `ram: {in_gb(need.least, up=True)}` in team.yaml: bases are then open in turn"
    mend = f"close other programs, or take a smaller base{turns if need.least < needed else ''}" if scarce else ""
    told = f"; {in_gb(free)} free" if free is not None else ""
    yield Finding("team", "memory", "note" if scarce else "ok", found + told, mend)


def check_build(blueprint: Blueprint, folder: Path) -> Iterator[Finding]:
    """There is a build, and nothing has changed since. Without one, the first question builds the team."""
    from ..agents.build import changed_since_build

    changed = changed_since_build(blueprint)
    if changed is None:
        yield Finding("team", "build", "note", "never built", command_line("build", team=folder))
    elif changed:
        few = ", ".join(sorted(changed)[:3])
        yield Finding("team", "build", "note", f"changed since: {few}", command_line("build", team=folder))
    else:
        yield Finding("team", "build", "ok", f"up to date, in {blueprint.state}")


def check_confidence(blueprint: Blueprint) -> Iterator[Finding]:
    """Whose answers the confidence was fitted to."""
    from ..agents.assemble import OwnConfidence

    own = OwnConfidence.read(blueprint)
    found = "as shipped"
    if own:
        before, after = own.ece
        found = f"fitted to {own.answers} answers to the team's questions: ECE {before:.3f} → {after:.3f}"
    yield Finding("team", "confidence", "ok", found)


# The command.


def diagnose(team: Path | None = None) -> list[Finding]:
    """Look at everything, and at the team in that folder when one is given. Never raises."""
    findings = [
        *_guarded("python", check_python),
        *_guarded("libraries", check_libraries),
        *_guarded("machine", check_machine),
        *_guarded("home", check_home),
    ]
    if team is None:
        return [*findings, *_guarded("models", lambda: check_models(default_models()))]
    return [*findings, *check_team(team)]


def check_team(folder: Path) -> list[Finding]:
    """The models that the team in `folder` needs, its cards, documents and last build. Never raises."""
    return list(_guarded("team", partial(_team, folder)))


def _team(folder: Path) -> Iterator[Finding]:
    blueprint = blueprint_of(folder)
    yield from _guarded("models", partial(check_models, needed_models(blueprint)))
    yield from _guarded("team", partial(check_cards, blueprint))
    yield from _guarded("team", partial(check_documents, blueprint))
    yield from _guarded("memory", partial(check_memory, blueprint))
    yield from _guarded("team", partial(check_build, blueprint, folder))
    yield from _guarded("team", partial(check_confidence, blueprint))


def can_run(findings: Iterable[Finding]) -> bool:
    """Whether a team can run on this machine."""
    return all(finding.status != "fail" for finding in findings)


def doctor(
    team: Annotated[
        Path | None, typer.Option("--team", "-t", envvar="METIER_TEAM", help="Also look at the team in this folder.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Tell what is installed, found and missing, and how to mend it. Exit code 0: a team can run."""
    findings = diagnose(team)
    good = can_run(findings)
    if json:
        print_json({"can_run": good, "findings": findings})
    else:
        _show(findings, good)
    raise typer.Exit(0 if good else 1)


def _guarded(area: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The check's findings; if it breaks, those up to there and one that says so."""
    try:
        yield from check()
    except MetierError as error:
        yield Finding(area, area, "fail", error.message, error.hint or "")
    except Exception as error:  # the doctor's own patients: half-installed libraries, unreadable files
        yield Finding(area, area, "fail", f"cannot be checked: {type(error).__name__}: {error}", _reinstall(error))


def _reinstall(error: Exception) -> str:
    return "pip install --force-reinstall metier" if isinstance(error, ImportError) else ""


def _show(findings: list[Finding], good: bool) -> None:
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(finding.what) for finding in findings)
    for area, group in groupby(findings, key=lambda finding: finding.area):
        console.print(f"[bold]{area}[/]")
        for finding in group:
            console.print(f"  {_SIGN[finding.status]} {escape(finding.what):<{width}}  {escape(finding.found)}")
            if finding.mend:
                console.print(f"    [cyan]→ {escape(finding.mend)}[/]")
    failed = sum(finding.status == "fail" for finding in findings)
    console.print("[green]A team can run here.[/]" if good else f"[red]No team can run yet: {failed} to mend (✗).[/]")

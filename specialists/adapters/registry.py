"""The versions of a team's adapters on disk, and their aliases. Every change is one file replaced under a lock.

registry/
  maintenance/
    registry.json     champion, challenger, former champions, and what happened
    3f2a90c4d1be/     a version: a PEFT repository that nobody changes any more
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ConfigDict, Field, ValidationError

from ...core.errors import InputError, IntegrityError, StateError, unknown
from ...core.files import replace_folder, sha256, write_atomic
from ...core.types import Value
from .folder import README, RECORD, hashes, open_adapter, read_weights

ALIASES = ("champion", "challenger")
_FILE = "registry.json"
_PATIENCE = 60.0
"""Seconds to wait for another process that changes the same specialist."""
_ID_LENGTH = 12
"""Hex digits of a version's name."""
_CARD = """---
base_model: {hub}
library_name: peft
pipeline_tag: text-generation
license: {licence}
tags: [lora, metier]
---

# {specialist}: a specialist's adapter

A LoRA for {base}, {made}.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{hub}"), "PATH OF THIS FOLDER")
```

Prompts are made by metier's renderer (`style: {style}`); with other prompts it does worse.
`metier registry import SPECIALIST PATH` takes it into a team.

## Where it comes from

| | |
| --- | --- |
{lineage}

## Figures

{figures}
"""
"""The model card of a version; the Hugging Face Hub reads its front matter."""


class Registry:
    """The registry in a folder; the folder need not exist before the first version.

    Safe for several processes. A process that is killed leaves either the old aliases or the new ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def state(self, name: str) -> Aliases:
        """Aliases and events of a specialist; empty for one without versions.

        Raises:
            StateError: the file is damaged.
        """
        path = self.folder / name / _FILE
        if not path.is_file():
            return Aliases()
        try:
            return Aliases.model_validate_json(path.read_bytes())
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise StateError(f"{path} is damaged: {reason}", hint="put back the file of your last commit") from error

    def versions(self, name: str) -> list[str]:
        """Ids of all versions of a specialist, newest first."""
        order = {e.version: n for n, e in enumerate(self.state(name).events) if e.did == "added"}
        ids = [p.parent.name for p in (self.folder / name).glob(f"[!.]*/{RECORD}")]
        return sorted(ids, key=lambda v: (-order.get(v, -1), v))

    def find(self, name: str, ref: str) -> Version:
        """The version that an alias, an id or the beginning of one means; its hashes are checked.

        Raises:
            InputError: no such version, or more than one.
            IntegrityError: it was changed after it was made.
        """
        held = self.versions(name)
        wanted = getattr(self.state(name), ref) if ref in ALIASES else ref
        if wanted is None:
            raise InputError(f"'{name}' has no {ref}", hint=f"versions: {', '.join(held) or 'none'}")
        matching = [v for v in held if v.startswith(wanted)]
        if len(matching) != 1 or not wanted:
            raise InputError(unknown(f"version of '{name}'", ref, [*held, *ALIASES]))
        return read_version(self.folder / name / matching[0])

    def champion(self, name: str) -> Path | None:
        """The folder of the version in use, checked; None where the card's own adapter is. Raises as `find` does."""
        return self.find(name, "champion").path if self.state(name).champion else None

    def add(self, name: str, source: Path, record: Mapping[str, Any], why: str) -> Version:
        """Take the adapter in a PEFT folder as a new version, and as the challenger.

        Raises:
            ConfigError, IntegrityError: not an adapter that may be trusted.
        """
        with self._changing(name) as change:
            version = write_version(source, record, self.folder / name)
            change(Aliases.added, version.id, "added", why)
        return version

    def promote(self, name: str, ref: str = "challenger", why: str = "asked for") -> Version:
        """Make a version the champion. Raises as `find` does, and `StateError` when it is the champion already."""
        with self._changing(name) as change:
            version = self.find(name, ref)
            change(Aliases.promoted, version.id, "promoted", why)
        return version

    def rollback(self, name: str, why: str = "asked for") -> str | None:
        """Bring the champion before back; its id, or None for the card's own adapter.

        Raises:
            StateError: there was none before.
            IntegrityError: the one before was changed after it was made.
        """
        with self._changing(name) as change:
            back = self.state(name).rolled_back().champion
            if back:
                self.find(name, back)
            change(lambda state, _: state.rolled_back(), back, "rolled back", why)
        return back

    def keep_back(self, name: str, why: str) -> None:
        """Note why the challenger was not promoted; the same note is not repeated."""
        with self._changing(name) as change:
            state = self.state(name)
            last = next((e for e in reversed(state.events) if e.version == state.challenger), None)
            if last is None or (last.did, last.why) != ("kept back", why):
                change(lambda state, _: state, state.challenger, "kept back", why)

    def remove(self, name: str, ref: str) -> str:
        """Delete a version; its id.

        Raises:
            InputError: no such version, or more than one.
            StateError: it is in use.
        """
        with self._changing(name) as change:
            matching = [v for v in self.versions(name) if ref and v.startswith(ref)]
            id = matching[0] if len(matching) == 1 else self.find(name, ref).id
            change(Aliases.removed, id, "removed", "asked for")
            # Out of sight first: a half-deleted folder would look like a damaged version.
            gone = self.folder / name / f".{id}.removed"
            (self.folder / name / id).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        return id

    @contextmanager
    def _changing(self, name: str) -> Iterator[Callable[..., None]]:
        """Hold the lock; what is given takes a step of `Aliases`, its version, and a word and a reason for the log."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)

        def change(step: Callable[[Aliases, Any], Aliases], version: str | None, did: str, why: str) -> None:
            before = self.state(name)
            event = VersionEvent(at=datetime.now(UTC).isoformat(timespec="seconds"), did=did, version=version, why=why)
            after = step(before, version).model_copy(update={"events": (*before.events, event)})
            write_atomic(folder / _FILE, after.model_dump_json(indent=2) + "\n")

        try:
            with FileLock(folder / ".lock", timeout=_PATIENCE):
                yield change
        except Timeout as error:
            raise StateError(f"another process is changing the versions of '{name}'", hint="try again") from error


class VersionEvent(Value):
    """Something that happened to a specialist's versions."""

    at: str
    """UTC, ISO 8601."""
    did: str
    """`added`, `promoted`, `kept back`, `rolled back`, `removed`."""
    version: str | None
    why: str = ""


class Aliases(Value):
    """The aliases of one specialist. Versions are named by their id."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    champion: str | None = None
    """In use; None means what the card says: its adapter, or the skill of its style."""
    challenger: str | None = None
    """Newest, and not yet better."""
    former: tuple[str | None, ...] = ()
    """Champions before this one, the last of them last."""
    events: tuple[VersionEvent, ...] = Field(default=())

    def added(self, version: str) -> Aliases:
        """The version becomes the challenger, unless it is the champion."""
        return self if version == self.champion else self._with(challenger=version)

    def promoted(self, version: str) -> Aliases:
        """The version becomes the champion.

        Raises:
            StateError: it is the champion already.
        """
        if version == self.champion:
            raise StateError(f"{version} is the champion already")
        return self._with(champion=version, former=(*self.former, self.champion))

    def rolled_back(self) -> Aliases:
        """The champion before comes back; None is the card's own adapter.

        Raises:
            StateError: nothing was ever promoted, or all of it was rolled back.
        """
        if not self.former:
            raise StateError("there was no other champion before", hint="metier registry promote SPECIALIST VERSION")
        return self._with(champion=self.former[-1], former=self.former[:-1])

    def removed(self, version: str) -> Aliases:
        """Nothing leads back to the version.

        Raises:
            StateError: it is in use.
        """
        if version == self.champion:
            raise StateError(
                f"{version} is in use: it is the champion", hint="promote another one, or roll back, first"
            )
        line = [v for v, _ in groupby(v for v in (*self.former, self.champion) if v != version)]
        challenger = None if version == self.challenger else self.challenger
        return self._with(former=tuple(line[:-1]), challenger=challenger)

    def _with(self, **changes: object) -> Aliases:
        after = self.model_copy(update=changes)
        return after if after.challenger != after.champion else after.model_copy(update={"challenger": None})


@dataclass(frozen=True)
class Version:
    """A version that passed the checks of `read_version`."""

    id: str
    path: Path
    """A folder that PEFT loads: `adapter_config.json`, `adapter_model.safetensors`, README.md, `metier.json`, and
    `decision.json` where one was fitted."""
    record: dict[str, Any]
    """`metier.json`: base, data, code, seed, figures, licence, and the SHA-256 of the files that it depends on."""


def read_version(path: Path) -> Version:
    """The version in that folder, every hash checked: of the files, and of the record that names them.

    Raises:
        ConfigError: no PEFT folder.
        IntegrityError: something was changed after the version was made.
    """
    folder = open_adapter(path)
    id = sha256(path / RECORD)[:_ID_LENGTH] if folder.record else "no record"
    if id != path.name or not folder.record.get("files"):
        raise IntegrityError(
            f"{path / RECORD} is not the one that this version was made with ({id}, not {path.name})",
            hint="metier registry rollback, or train or import it again",
        )
    return Version(path.name, path, folder.record)


def write_version(source: Path, record: Mapping[str, Any], parent: Path) -> Version:
    """Keep the adapter of a PEFT folder as a version below `parent`. The same content gives the same version.

    Only its `adapter_parts` and the record are taken: whatever else lies in the folder stays there.

    Raises:
        ConfigError: no PEFT folder.
        IntegrityError: weights that are pickled, changed, damaged, or no numbers.
    """
    read_weights(open_adapter(source).weights)
    files = hashes(source)
    text = json.dumps({**record, "files": files}, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    target = parent / hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]
    if not target.is_dir():
        with replace_folder(target) as fresh:
            for name in files:
                shutil.copyfile(source / name, fresh / name)
            (fresh / RECORD).write_bytes(text.encode())
            (fresh / README).write_text(model_card(record), encoding="utf-8")
    return read_version(target)


def model_card(record: Mapping[str, Any], figures: str = "") -> str:
    """The card of the version with that record (`metier.json`).

    Args:
        figures: What the gate measured, as Markdown; the training's own loss stands there in any case.
    """
    base, card = record.get("base", {}), record.get("card", {})
    report = record.get("report", {})
    return _CARD.format(
        hub=base.get("hub") or base.get("name", "unknown"),
        base=base.get("name", "an unknown base"),
        licence=str(record.get("licence", "unknown")).lower(),
        specialist=record.get("specialist", "unknown"),
        style=card.get("style", "unknown"),
        made="trained by metier" if report else f"imported from {record.get('origin', 'elsewhere')}",
        lineage="\n".join(f"| {key} | {value} |" for key, value in _lineage(record).items()),
        figures="\n\n".join(filter(None, (_training(report), figures))) or "None were measured.",
    )


def _lineage(record: Mapping[str, Any]) -> dict[str, str]:
    base = record.get("base", {})
    rows = {
        "base, SHA-256 of its GGUF": base.get("gguf_sha256"),
        "started from, SHA-256 of its weights": record.get("start"),
        **{f"data: {name}, SHA-256": digest for name, digest in record.get("data", {}).items()},
        "code": record.get("code"),
        "seed": record.get("seed"),
        "recipe": json.dumps(record["config"]) if "config" in record else None,
    }
    return {key: f"`{value}`" for key, value in rows.items() if value is not None}


def _training(report: Mapping[str, Any]) -> str:
    if not report:
        return ""
    best = min((loss for _, loss in report["validation"]), default=None)
    aside = f"; loss on examples kept aside {best:.3f}" if best is not None else ""
    return f"{report['examples']} examples, {report['steps']} steps, {report['tokens']} tokens{aside}."

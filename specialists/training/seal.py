"""Seals a trained skill: `python -m metier.specialists.training.seal FOLDER FIGURES.json`.

FOLDER is what the skill's training script wrote, FIGURES.json what a benchmark's `--json` wrote. The folder gets its
model card and `metier.json` (base, data, seed, figures and the SHA-256 of the files that must not change).
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from .publish import write_record

TRAINING = "training.json"
"""The record that a training script leaves for this one."""

CARD = """---
base_model: {base[name]}
library_name: peft
license: apache-2.0
tags: [{labels}]
---

# {skill}: {title}

A LoRA adapter (rank {config[rank]}, all linear layers, f16) for {base[name]}.
{prompt}

## Data

{preparation}

{lineage}

The texts quoted inside the sets belong to their authors. No other data was used.

## Training

{report[steps]} steps, {report[tokens]} tokens, {minutes:.0f} minutes on two CPU cores shared with other work.
Trained on the unpacked weights of the GGUF with SHA-256 `{base[gguf_sha256]}`.

    {command}

## Figures

On rows that were kept aside, through the embedded engine, in percent (`_s`: seconds) with 95 % bootstrap intervals:

{figures}

## Limits

{limits}
"""


def figures(rows: list[dict[str, Any]]) -> str:
    """A benchmark's rows as a table, one line for a set and system."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        lines.setdefault((row["set"], row["system"]), {"n": str(row["n"])})[row["metric"]] = _cell(row)
    body = [[*key, cells["n"], *(cells.get(m, "") for m in metrics)] for key, cells in lines.items()]
    return _table(["set", "system", "n", *metrics], body)


def _cell(row: dict[str, Any]) -> str:
    """Seconds as they are, fractions in percent."""
    if row["metric"].endswith("_s"):
        return f"{row['value']:.2f} ({row['low']:.2f}–{row['high']:.2f})"
    return f"{100 * row['value']:.1f} ({100 * row['low']:.0f}–{100 * row['high']:.0f})"


def card(training: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The model card, out of the training's record and the figures."""
    texts = {name: textwrap.fill(training[name], 120) for name in ("prompt", "preparation", "limits")}
    data = [[name, s["origin"], s["licence"], f"`{s['sha256'][:16]}…`"] for name, s in training["data"].items()]
    return CARD.format(
        **{**training, **texts},
        labels=", ".join(["lora", *training["tags"], "metier"]),
        lineage=_table(["file", "origin", "licence", "SHA-256"], data),
        minutes=training["report"]["seconds"] / 60,
        figures=figures(rows),
    )


def main(folder: Path, measured: Path) -> None:
    """Write README.md and metier.json, and remove the loose training record."""
    loose = folder / TRAINING
    training = json.loads(loose.read_text(encoding="utf-8"))
    metrics = json.loads(measured.read_text(encoding="utf-8"))
    write_record(folder, {**training, "metrics": metrics}, card(training, metrics["rows"]))
    loose.unlink()


def _table(head: list[str], body: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Seals a trained `quote` skill: `python -m metier.specialists.training.quote_card FOLDER METRICS.json`.

METRICS.json is what `benchmarks/specialists.py --json` wrote. The folder gets its model card and `metier.json`
(base, data, seed, figures and the SHA-256 of the files that must not change).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .publish import write_record

LINEAGE = {
    "finance_tatqa_span.jsonl": ("TAT-QA (Zhu et al., ACL 2021)", "CC BY 4.0"),
    "agri_agxqa.jsonl": ("AgXQA (Kpodo et al., Computers and Electronics in Agriculture 2024)", "Apache-2.0"),
    "law_cuad_qa.jsonl": ("CUAD (Hendrycks et al., NeurIPS Datasets and Benchmarks 2021)", "CC BY 4.0"),
    "safety_bipia_email.jsonl": ("BIPIA (Yi et al., KDD 2025)", "MIT"),
    "grounded_mtragun.jsonl": ("MTRAG (Katsis et al., TACL 2025)", "Apache-2.0"),
}

CARD = """---
base_model: {base}
library_name: peft
license: apache-2.0
tags: [lora, extractive-qa, abstention, metier]
---

# quote: answer with the passage's words, or say that it is not there

A LoRA adapter (rank {rank}, all linear layers, f16) for SmolLM2-135M-Instruct. The prompt is made by metier's renderer
(`style: quote`); at inference a grammar keeps the answer to words of the passages or "not found".

## Data

Rows were selected, passages cut to about 90 words around the answer and mixed with passages that look alike; in a fifth
of the prompts the answering passage was left out. {share} of the documents were kept aside by a hash of their name.

{lineage}

The texts quoted inside the sets belong to their authors. No other data was used.

## Training

{steps} steps, {tokens} tokens, {minutes:.0f} minutes on two CPU cores shared with other work; seed {seed}.
Trained on the unpacked weights of the GGUF with SHA-256 `{base_hash}`.

    python -m metier.specialists.training.quote DATA OUT --minutes {limit:g} --seed {seed}

## Figures

On the documents that were kept aside, through the embedded engine (`python benchmarks/specialists.py DATA`):

{figures}

## Limits

English only. It copies; it does not compute, compare or rephrase. It was trained on five sets of four fields.
"""


def figures(rows: list[dict[str, Any]]) -> str:
    """The benchmark's rows as a table, one line for a set and system."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        cell = f"{100 * row['value']:.1f} ({100 * row['low']:.0f}–{100 * row['high']:.0f})"
        lines.setdefault((row["set"], row["system"]), {"n": str(row["n"])})[row["metric"]] = cell
    head = ["set", "system", "n", *metrics]
    table = [head, ["---"] * len(head)]
    table += [[*key, cells["n"], *(cells.get(m, "") for m in metrics)] for key, cells in lines.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


def main(folder: Path, metrics: Path) -> None:
    """Write README.md and metier.json, and remove the loose training record."""
    loose = folder / "training.json"
    training = json.loads(loose.read_text(encoding="utf-8"))
    measured = json.loads(metrics.read_text(encoding="utf-8"))
    report, config = training["report"], training["config"]
    lineage = [(name, *LINEAGE[name], digest) for name, digest in training["data"].items()]
    table = ["| file | origin | licence | SHA-256 |", "| --- | --- | --- | --- |"]
    table += [f"| {name} | {origin} | {licence} | `{digest[:16]}…` |" for name, origin, licence, digest in lineage]
    card = CARD.format(
        base=training["base"]["name"],
        base_hash=training["base"]["gguf_sha256"],
        rank=config["rank"],
        share="15 %",
        lineage="\n".join(table),
        steps=report["steps"],
        tokens=report["tokens"],
        minutes=report["seconds"] / 60,
        limit=config["minutes"],
        seed=config["seed"],
        figures=figures(measured["rows"]),
    )
    write_record(folder, {"skill": "quote", "licence": "Apache-2.0", **training, "metrics": measured}, card)
    loose.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""The README.md of a version: a model card with the YAML front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

README = "README.md"

CARD = """---
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


def model_card(record: Mapping[str, Any], figures: str = "") -> str:
    """The card of the version with that record (`metier.json`).

    Args:
        figures: What the gate measured, as Markdown; the training's own loss stands there in any case.
    """
    base, card = record.get("base", {}), record.get("card", {})
    report = record.get("report", {})
    return CARD.format(
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
    found = {
        "base, SHA-256 of its GGUF": base.get("gguf_sha256"),
        "started from, SHA-256 of its weights": record.get("start"),
        **{f"data: {name}, SHA-256": digest for name, digest in record.get("data", {}).items()},
        "code": record.get("code"),
        "seed": record.get("seed"),
        "recipe": json.dumps(record["config"]) if "config" in record else None,
    }
    return {key: f"`{value}`" for key, value in found.items() if value is not None}


def _training(report: Mapping[str, Any]) -> str:
    if not report:
        return ""
    best = min((loss for _, loss in report["validation"]), default=None)
    aside = f"; loss on examples kept aside {best:.3f}" if best is not None else ""
    return f"{report['examples']} examples, {report['steps']} steps, {report['tokens']} tokens{aside}."

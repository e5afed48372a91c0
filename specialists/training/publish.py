"""Writing what was learnt: PEFT's repository layout, with a record of where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ...core.files import write_atomic
from ..adapters.folder import CONFIG, RECORD, WEIGHTS, hashes


def write_folder(
    folder: Path, model: PeftModel | PreTrainedModel, base: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write an adapter (or, for a fully trained model, the model with its tokenizer) to `folder`, its weights in f16.

    PEFT records the local path of the base, which means nothing elsewhere: `base` takes its place.
    """
    if not isinstance(model, PeftModel):
        model.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return
    # Left to itself, PEFT asks the hub whether the base has a larger vocabulary.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    tensors = {name: tensor.to(torch.float16).contiguous() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    if "target_modules" in config:
        config["target_modules"] = sorted(config["target_modules"])
    write_atomic(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    kind = config["peft_type"].lower()
    head = f"base_model: {base}\nlibrary_name: peft\ntags: [{kind}, metier]"
    write_atomic(folder / "README.md", f"---\n{head}\n---\n\nAn adapter ({kind}) trained by metier.\n")


def write_record(folder: Path, record: Mapping[str, Any], card: str) -> None:
    """Add the model card and `metier.json`: `record` and the SHA-256 of the files that must not change."""
    write_atomic(folder / RECORD, json.dumps({**record, "files": hashes(folder)}, indent=2) + "\n")
    write_atomic(folder / "README.md", card)

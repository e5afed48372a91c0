"""Averages adapters of one lineage: what each leans to is evened out (model soups, Wortsman et al., arXiv:2203.05482).

    python benchmarks/skills/average.py OUT ADAPTER ADAPTER [...]

Each ADAPTER and OUT are PEFT folders; all adapters must have been trained on from one another.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from metier.specialists.adapters.folder import CONFIG, WEIGHTS


def average(folders: list[Path], out: Path) -> None:
    """The mean of the weights, in f16, with the first one's configuration."""
    weights = [load_file(folder / WEIGHTS) for folder in folders]
    mean = {name: np.mean([w[name].astype(np.float32) for w in weights], axis=0) for name in weights[0]}
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: array.astype(np.float16) for name, array in mean.items()}, out / WEIGHTS, {"format": "pt"})
    shutil.copy(folders[0] / CONFIG, out / CONFIG)


def main() -> None:
    parser = argparse.ArgumentParser(description="Averages adapters of one lineage.")
    parser.add_argument("out", type=Path)
    parser.add_argument("adapters", type=Path, nargs="+")
    args = parser.parse_args()
    average(args.adapters, args.out)


if __name__ == "__main__":
    main()

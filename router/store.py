"""A fitted model as two files: `router.safetensors` (numbers) and `router.json` (everything else)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from ..core.errors import RouterError
from ..core.files import replace_folder
from .features import Features, Mix, Rows
from .lexicon import Lexicon, Sparse
from .model import Calibration, Model
from .shortcut import NEVER, Shortcut

FORMAT = 1

Arrays = dict[str, np.ndarray]


def save(model: Model, more: dict[str, Any], folder: Path) -> None:
    """Write both files in one step. `more` is kept as JSON beside the model."""
    arrays: Arrays = {
        "vectors": model.rows.vectors,
        "labels": model.labels.astype(np.int64),
        "coefficients": model.coefficients,
        "prior": model.prior,
        "held_out": model.held_out,
        "shortcut.weights": model.shortcut.weights,
        "shortcut.bias": model.shortcut.bias,
        "calibration.weights": np.asarray(model.calibration.weights, dtype=np.float64),
        "words.idf": model.features.words.idf,
        "pieces.idf": model.features.pieces.idf,
        **_parts("words", model.rows.words),
        **_parts("pieces", model.rows.pieces),
    }
    calibration = {k: v for k, v in asdict(model.calibration).items() if k != "weights"}
    described = {
        "format": FORMAT,
        "names": model.names,
        "mix": asdict(model.mix),
        "calibration": calibration,
        "words": model.features.words.terms,
        "pieces": model.features.pieces.terms,
        "shortcut": {"terms": list(model.shortcut.terms), "margin": _finite(model.shortcut.margin)},
        "more": more,
    }
    with replace_folder(folder) as fresh:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, fresh / "router.safetensors")
        (fresh / "router.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")


def load(folder: Path) -> tuple[Model, dict[str, Any]]:
    """What `save` wrote.

    Raises:
        RouterError: there is nothing, or it is damaged or of another format.
    """
    hint = "metier build, or Router.fit(…).save(folder)"
    try:
        described = json.loads((folder / "router.json").read_text(encoding="utf-8"))
        if described["format"] != FORMAT:
            raise RouterError(f"{folder}: format {described['format']}, this metier reads {FORMAT}", hint=hint)
        arrays = load_file(folder / "router.safetensors")
        return _model(described, arrays), described["more"]
    except FileNotFoundError as error:
        raise RouterError(f"no fitted router in {folder}", hint=hint) from error
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RouterError(f"{folder}: damaged ({type(error).__name__}: {error})", hint=hint) from error


def _model(described: dict[str, Any], arrays: Arrays) -> Model:
    words, pieces = (Lexicon(k, described[k], arrays[f"{k}.idf"]) for k in ("words", "pieces"))
    rows = Rows(
        arrays["vectors"],
        _sparse("words", arrays, len(words.terms)),
        _sparse("pieces", arrays, len(pieces.terms)),
    )
    return Model(
        names=tuple(described["names"]),
        mix=Mix(**described["mix"]),
        features=Features(words, pieces),
        rows=rows,
        labels=arrays["labels"],
        coefficients=arrays["coefficients"],
        prior=arrays["prior"],
        held_out=arrays["held_out"],
        calibration=Calibration(weights=arrays["calibration.weights"], **described["calibration"]),
        shortcut=Shortcut(
            terms={term: i for i, term in enumerate(described["shortcut"]["terms"])},
            weights=arrays["shortcut.weights"],
            bias=arrays["shortcut.bias"],
            margin=NEVER if described["shortcut"]["margin"] is None else described["shortcut"]["margin"],
        ),
    )


def _finite(margin: float) -> float | None:
    """JSON has no infinity."""
    return None if margin == NEVER else margin


def _parts(name: str, matrix: Sparse) -> Arrays:
    kinds = {"data": np.float32, "indices": np.int32, "indptr": np.int64}
    return {f"{name}.{part}": getattr(matrix, part).astype(kind) for part, kind in kinds.items()}


def _sparse(name: str, arrays: Arrays, terms: int) -> Sparse:
    parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return csr_matrix(parts, shape=(len(parts[2]) - 1, terms))

"""Text recognition for pages that are pictures of text. Needs the extra `ocr`, whose models come with its package."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from typing import Any

import pypdfium2 as pdfium

from ....core.settings import settings
from ..documents import clean
from .page_layout import Line, in_reading_order

_DOTS = 200 / 72
"""Dots a point: at 150 an inch some lines are misread, at 200 none."""
_MOST_DOTS = 12_000_000
"""Dots of a page; a larger one is drawn smaller."""
_LEAST_SURE = 0.5
"""Lines that the recognition is less sure of (0 to 1) are dust and drawings."""
_MOST_OBJECTS = 1_000


def can_read_scans() -> bool:
    """Whether the extra `ocr` is installed."""
    return find_spec("rapidocr") is not None


def has_picture(page: pdfium.PdfPage) -> bool:
    """Whether a page shows a picture at all: without one, an empty page is just empty."""
    objects = islice(page.get_objects(max_depth=4), _MOST_OBJECTS)
    return any(isinstance(shape, pdfium.PdfImage) for shape in objects)


def recognised_lines(page: pdfium.PdfPage) -> list[Line]:
    """The lines of a page that is a picture, in reading order. Seconds a page."""
    width, height = page.get_size()
    scale = min(_DOTS, (_MOST_DOTS / max(1.0, width * height)) ** 0.5)
    draw: Any = page.render  # its type says that the scale is a whole number, which it is not
    found = _recogniser()(draw(scale=scale).to_numpy())
    fragments = []
    for corners, words, sure in zip(
        found.boxes if found.boxes is not None else (), found.txts or (), found.scores or (), strict=True
    ):
        across, down = corners[:, 0] / scale, corners[:, 1] / scale
        box = float(across.min()), height - float(down.max()), float(across.max()), height - float(down.min())
        if sure >= _LEAST_SURE and words.strip():
            fragments.append(Line(clean(words), *box))
    return in_reading_order(fragments, height)


@lru_cache(maxsize=1)
def _recogniser() -> Any:
    from rapidocr import RapidOCR  # an extra, and slow to import

    return RapidOCR(
        params={
            "Global.log_level": "error",
            "EngineConfig.onnxruntime.intra_op_num_threads": settings().threads,
            "Det.thresh": 0.2,  # single lines on an empty page are overlooked otherwise
            "Det.box_thresh": 0.3,
        }
    )

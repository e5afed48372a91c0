"""Documents to passages to a hybrid index; citations that are checked."""

from __future__ import annotations

from .citation import cite
from .knowledge import Knowledge
from .store import DocumentInfo

__all__ = ["DocumentInfo", "Knowledge", "cite"]

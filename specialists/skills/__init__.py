"""The skills that are shipped: adapters for a way of working, one PEFT folder each."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import ConfigError, unknown

_HERE = Path(__file__).parent
_WEIGHTS = "adapter_model.safetensors"


def skill_names() -> list[str]:
    """The shipped skills, sorted."""
    return sorted(path.parent.name for path in _HERE.glob(f"*/{_WEIGHTS}"))


def find_skill(name: str) -> Path:
    """The PEFT folder of a shipped skill.

    Raises:
        ConfigError: there is no skill of that name.
    """
    names = skill_names()
    if name not in names:
        raise ConfigError(unknown("skill", name, names))
    return _HERE / name

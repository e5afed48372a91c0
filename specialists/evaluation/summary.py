"""What an evaluation says: figures of each system, how far it is above the first, and the results behind it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict

from ...core.types import Value
from .columns import columns
from .measures import style_of
from .question import Result
from .statistics import Difference, Figure, difference, figure


class SystemSummary(Value):
    """One system on one specialist's questions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    system: str
    """`base`, `skill`, `adapter`, `champion`, `challenger`."""
    version: str
    same_as: str | None
    """The system before it that is the very same version."""
    metrics: dict[str, Figure]
    above_first: Difference | None
    """On the gate's metric, against the first system; None for the first itself."""
    results: tuple[Result, ...]
    """In the order of the questions, which is the same for all systems."""


class Summary(Value):
    """One specialist."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    specialist: str
    style: str
    gate: str
    """The metric that decides."""
    main: str
    """The score of single answers that says most."""
    threshold: float
    """Confidence below which it refuses."""
    systems: tuple[SystemSummary, ...]

    @property
    def metrics(self) -> list[str]:
        """All names, in the order of the system that has most."""
        most_first = sorted((list(s.metrics) for s in self.systems), key=len, reverse=True)
        return list(dict.fromkeys(name for names in most_first for name in names))


class Report(Value):
    """A team's evaluation."""

    team: str
    base: str
    specialists: tuple[Summary, ...]
    left_out: dict[str, str]
    """Specialist to why it was not evaluated."""


def summarise(
    specialist: str,
    style: str,
    threshold: float,
    systems: Sequence[tuple[str, str]],
    results: Sequence[Sequence[Result]],
) -> Summary:
    """The summary of one specialist.

    Args:
        systems: Name and version of each.
        results: Of each, on the same questions in the same order; at least one question.
    """
    rules, found = style_of(style), list[SystemSummary]()
    first = columns(results[0], style, threshold)[rules.gate]
    for (system, version), answered in zip(systems, results, strict=True):
        table = columns(answered, style, threshold)
        found.append(
            SystemSummary(
                system=system,
                version=version,
                same_as=next((s.system for s in found if s.version == version), None),
                metrics={name: figure(column) for name, column in table.items()},
                above_first=difference(table[rules.gate], first) if found else None,
                results=tuple(answered),
            )
        )
    return Summary(
        specialist=specialist,
        style=style,
        gate=rules.gate,
        main=rules.main,
        threshold=threshold,
        systems=tuple(found),
    )

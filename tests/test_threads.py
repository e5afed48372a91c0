"""Saved conversations: LangGraph's conformance suite on what we ship, copies, forks, pruning, another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from metier.memory.checkpoints import open_checkpoints
from metier.memory.saver import ThreadSaver

Open = Callable[[], ThreadSaver]


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens a new, empty store of each kind."""
    numbers = iter(range(1000))

    def make() -> ThreadSaver:
        folder = tmp_path / str(next(numbers))
        kind = request.getfixturevalue("postgres").database() if request.param == "postgres" else "sqlite"
        saver = open_checkpoints(kind, folder)
        assert saver is not None
        return saver

    return make


def test_the_conformance_suite_of_langgraph_passes(opened: Open) -> None:
    async def stores():
        saver = opened()
        try:
            yield saver
        finally:
            saver.close()

    report = asyncio.run(validate(checkpointer_test(name="metier")(stores)))
    assert {name: r.failures for name, r in report.results.items() if not r.passed} == {}
    assert sum(r.tests_passed for r in report.results.values()) >= 60
    assert not any(r.tests_skipped for r in report.results.values())

"""Who computes next on an engine that does one step at a time: in order, whatever happens inside a step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from metier.specialists.engines.turns import BETWEEN, Turns
from metier.tests.patience import PATIENCE, until


class Stage:
    """Scripted steps on one `Turns`: notes who computes, and that nobody else does."""

    def __init__(self) -> None:
        self.turns, self.order, self._inside = Turns(), list[str](), 0

    def step(self, who: str, *, long: bool = False, work: Callable[[], None] | None = None) -> None:
        """One step of somebody."""
        with self.turns.turn(long=long):
            self._inside += 1
            try:
                assert self._inside == 1, "two at once"
                self.order.append(who)
                time.sleep(0)
                if work:
                    work()
                assert self._inside == 1, "two at once"
            finally:
                self._inside -= 1

    def queued(self, asked: Sequence[tuple[str, bool]]) -> list[str]:
        """The order in which steps are done that were asked for one after the other while somebody computes."""
        begun, over = threading.Event(), threading.Event()

        def hold() -> None:
            begun.set()
            assert over.wait(PATIENCE)

        with ThreadPoolExecutor(len(asked) + 1) as pool:
            first = pool.submit(self.step, "first", work=hold)
            assert begun.wait(PATIENCE)
            rest = list[object]()
            for number, (who, long) in enumerate(asked, 1):
                rest.append(pool.submit(self.step, who, long=long))
                until(lambda number=number: self.turns.waiting == number, pause=0.001)
            over.set()
            first.result(PATIENCE)
        return self.order[1:]


def test_who_asks_first_computes_first() -> None:
    asked = [(name, False) for name in "abcdefgh"]
    assert Stage().queued(asked) == list("abcdefgh")


def test_long_steps_wait_for_a_round_of_short_ones_and_no_longer() -> None:
    short = [(f"s{n}", False) for n in range(2 * BETWEEN)]
    long = [(f"l{n}", True) for n in range(3)]
    done = Stage().queued([*long, *short])
    assert [one for one in done if one[0] == "s"] == [name for name, _ in short]
    assert [one for one in done if one[0] == "l"] == [name for name, _ in long]
    # The step during which they all came was a short one.
    assert done.index("l0") == BETWEEN - 1
    assert done.index("l1") == 2 * BETWEEN
    assert done.index("l2") == len(done) - 1


class Stopped(Exception):
    """What a scripted step ends with."""


ENDS = st.sampled_from(["done", "called off", "breaks"])
"""How somebody ends, after so many steps."""
SOMEBODY = st.tuples(st.integers(0, 3), st.integers(1, 12), ENDS, st.integers(0, 2))
"""Long steps, short steps, how it ends, when it comes."""


@settings(max_examples=40, deadline=None)
@given(st.lists(SOMEBODY, min_size=1, max_size=10))
def test_nobody_waits_for_ever_and_one_computes_at_a_time(people: list[tuple[int, int, str, int]]) -> None:
    """Everybody asks for a part of a prompt a few times and then for tokens, and some end early: inside a step, or
    between two. Whatever they do, all others get every step, with few of others' in between."""
    stage = Stage()

    def work(number: int) -> None:
        parts, tokens, end, comes = people[number]
        time.sleep(comes / 1000)

        def last() -> None:
            if end == "breaks":
                raise Stopped

        with suppress(Stopped):
            for _ in range(parts):
                stage.step(f"{number} reads", long=True)
            for token in range(tokens):
                if end == "called off" and token == tokens // 2:
                    return
                stage.step(f"{number} writes", work=last if token == tokens - 1 else None)

    with ThreadPoolExecutor(len(people)) as pool:
        for one in [pool.submit(work, number) for number in range(len(people))]:
            one.result(PATIENCE)
    for number, (parts, tokens, end, _) in enumerate(people):
        assert stage.order.count(f"{number} reads") == parts
        assert stage.order.count(f"{number} writes") == (tokens // 2 if end == "called off" else tokens)
    stage.step("afterwards")
    assert stage.turns.waiting == 0


@settings(max_examples=20, deadline=None)
@given(readers=st.integers(1, 6), writers=st.integers(1, BETWEEN))
def test_a_writer_waits_for_one_part_at_most(readers: int, writers: int) -> None:
    """However many prompts are read: with all of them in the queue, between two tokens of one there is one part."""
    names = [(f"w{n}", False) for n in range(writers)] * 3
    done = Stage().queued([*((f"r{n}", True) for n in range(readers)), *names])
    for writer in range(writers):
        own = [place for place, name in enumerate(done) if name == f"w{writer}"]
        for before, after in pairwise(own):
            between = done[before + 1 : after]
            assert sum(name[0] == "r" for name in between) <= 1
            assert sum(name[0] == "w" for name in between) <= writers - 1

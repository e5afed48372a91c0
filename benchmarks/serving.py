"""`metier serve` under load: requests a second, latency, streams, and what happens with too many callers.

`python benchmarks/serving.py DATA [--only SET] [--limit N] [--seed S] [--json OUT] [--train DIR] [--minutes M]`

A team of one specialist, whose model is scripted (it costs no time), is served by one process, as `metier serve` does
it; this process asks. DATA is not read. The sets are `none`, where no thread is saved, and `sqlite`, where each step of
each task is (`memory: {checkpoints: …}`).

`requests_per_s` is measured with 16 callers at once; `server_cpu_s` is the processor time that the server took for one
of these requests, which hardly depends on what else the machine does. `p50_s` and `p99_s` are latencies of 4 callers at
once, `direct_p99_s` that of 4 threads which ask the team without HTTP, and `overhead_p99_s` the difference.
`streams_complete` is the share of 50 streams, read at once, that end with `[DONE]` and hold the whole answer.
`first_word_p50_s` is the time of one caller until a stream's first word, without any model's own. `refused_only` is the
share of replies that are an answer or 429 when twice as many call at once as workers and queue hold; each 429 must say
when to come back. `ask_command_s` is the wall time of `metier ask` with this server running, `ask_answer_s` that of the
same answer over HTTP.

With `--minutes`, twice as many callers as fit ask for so long. `memory_first_bytes`, `memory_middle_bytes` and
`memory_last_bytes` are the medians of what the server holds in the second, the sixth and the last tenth of that time,
and `long_refused_only` is as above.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import psutil
from harness import Report, parser, quantile, say

from metier.agents.build import build
from metier.agents.cards import Blueprint
from metier.agents.team import Team

SETS = ("none", "sqlite")
ANSWER = "the bearing is greased every five hundred hours with the grease that the manual names"
WORKERS, QUEUE = 8, 64

ENGINE = f"""
from collections import deque

from metier.specialists.engines.scripted import ScriptedEngine

def engine(base, adapters, **options):
    scripted = ScriptedEngine(lambda messages: {ANSWER!r}, list(adapters))
    scripted.calls = deque(maxlen=1)  # all that it was asked would look like a leak of the server
    return scripted
"""


def write_team(folder: Path, checkpoints: str) -> Path:
    """A team whose only specialist writes what it is told to."""
    (folder / "writer").mkdir(parents=True)
    (folder / "engine_of_the_benchmark.py").write_text(ENGINE)
    card = {"name": "writer", "description": "Says how machines are kept.", "style": "free", "abstain_below": 0.0}
    card["examples"] = ["how often is the bearing greased", "which grease does it get", "when is it looked at"]
    (folder / "writer" / "specialist.yaml").write_text(json.dumps(card))
    memory = {"checkpoints": checkpoints, "facts": "none"}
    team = {"name": "bench", "specialists": ["writer"], "engine": "engine_of_the_benchmark:engine", "memory": memory}
    (folder / "team.yaml").write_text(json.dumps(team))
    build(Blueprint.read(folder))
    return folder


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`metier serve` in a process of its own; gives its address, and the process."""
    words = ["-t", str(folder), "--port", "0", "--workers", str(WORKERS), "--queue", str(QUEUE)]
    process = subprocess.Popen([sys.executable, "-m", "metier", "serve", *words], stderr=subprocess.DEVNULL)
    try:
        found = folder / ".metier" / "server.json"
        while not found.exists():
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        yield json.loads(found.read_text())["url"], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    first_word: float
    """Seconds until a stream's first word of the answer; until the end where there is none."""


class Caller:
    """A connection that asks again and again. Written by hand: a library's client costs more than the server."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port or 80

    async def __aenter__(self) -> Caller:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    async def ask(self, *, stream: bool = False) -> Reply:
        """One chat completion."""
        asked = {"model": "metier/writer", "stream": stream, "messages": [{"role": "user", "content": "how often?"}]}
        body = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        start = time.perf_counter()
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        first = None
        if "chunked" in headers.get("transfer-encoding", ""):
            data, first = await self._chunks()
        else:
            data = await self._reader.readexactly(int(headers["content-length"]))
        end = time.perf_counter()
        return Reply(int(lines[0].split()[1]), headers, data, end - start, (first or end) - start)

    async def _chunks(self) -> tuple[bytes, float | None]:
        """All of a stream, and when its first word came."""
        data, first = b"", None
        while size := int(await self._reader.readline(), 16):
            data += await self._reader.readexactly(size)
            if first is None and ANSWER.split()[0].encode() in data:
                first = time.perf_counter()
            await self._reader.readline()
        await self._reader.readline()
        return data, first


async def load(address: str, callers: int, requests: int, *, stream: bool = False) -> list[Reply]:
    """So many requests by so many callers at once, each with a connection of its own."""

    async def work(number: int) -> list[Reply]:
        async with Caller(address) as caller:
            return [await caller.ask(stream=stream) for _ in range(number)]

    each = [requests // callers + (n < requests % callers) for n in range(callers)]
    return [reply for replies in await asyncio.gather(*map(work, each)) for reply in replies]


def direct(folder: Path, requests: int) -> list[float]:
    """Seconds of questions that four threads ask without HTTP."""

    def ask(number: int) -> float:
        start = time.perf_counter()
        team.ask("how often?", specialist="writer")
        return time.perf_counter() - start

    with Team.load(folder) as team, ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(20)))
        return list(pool.map(ask, range(requests)))


def measure(args: Namespace, report: Report, name: str, folder: Path) -> None:
    """All figures of one team."""
    count, p99 = args.limit or 1000, quantile(0.99)
    say(f"{name}: {os.getloadavg()[0]:.1f} processes want one of {os.cpu_count()} processors before it begins")
    alone = direct(folder, count)
    report.add(name, "metier", "direct_p99_s", alone, p99)
    with served(folder) as (address, process):
        asyncio.run(load(address, 4, 50))
        start, used = time.perf_counter(), _cpu(process)
        replies = asyncio.run(load(address, 16, count))
        report.add_value(name, "metier", "requests_per_s", len(replies) / (time.perf_counter() - start), len(replies))
        report.add_value(name, "metier", "server_cpu_s", (_cpu(process) - used) / len(replies), len(replies))
        seconds = [reply.seconds for reply in asyncio.run(load(address, 4, count))]
        report.add(name, "metier", "p50_s", seconds, quantile(0.5))
        report.add(name, "metier", "p99_s", seconds, p99)
        overhead = p99(np.array(seconds)) - p99(np.array(alone))
        report.add_value(name, "metier", "overhead_p99_s", overhead, len(seconds))
        streams = asyncio.run(load(address, 50, 50, stream=True))
        report.add(name, "metier", "streams_complete", [_complete(reply) for reply in streams])
        alone_streams = asyncio.run(load(address, 1, 20, stream=True))
        report.add(name, "metier", "first_word_p50_s", [r.first_word for r in alone_streams], quantile(0.5))
        many = asyncio.run(load(address, 2 * (WORKERS + QUEUE), 4 * (WORKERS + QUEUE)))
        say(f"{name}: {sum(reply.status == 429 for reply in many)} of {len(many)} were sent away")
        report.add(name, "metier", "refused_only", [_fine(reply) for reply in many])
        report.add(name, "metier", "ask_answer_s", [reply.seconds for reply in asyncio.run(load(address, 1, 10))])
        report.add(name, "metier", "ask_command_s", [_command(folder) for _ in range(5)])
        if args.minutes:
            endure(args.minutes * 60, report, name, address, process)


def endure(seconds: float, report: Report, name: str, address: str, process: psutil.Process) -> None:
    """Twice the load for a long time: is everybody answered or sent away, and does the server's memory stay?"""
    end, held, fine = time.monotonic() + seconds, list[int](), list[bool]()

    async def call() -> None:
        async with Caller(address) as caller:
            while time.monotonic() < end:
                reply = await caller.ask()
                fine.append(_fine(reply))
                if reply.status == 429:
                    await asyncio.sleep(float(reply.headers["retry-after"]))

    async def look() -> None:
        while time.monotonic() < end:
            held.append(process.memory_info().rss)
            await asyncio.sleep(min(1.0, seconds / 100))

    async def all_of_them() -> None:
        await asyncio.gather(look(), *(call() for _ in range(2 * (WORKERS + QUEUE))))

    asyncio.run(all_of_them())
    tenth, middle = max(1, len(held) // 10), len(held) // 2
    parts = {"first": held[tenth : 2 * tenth], "middle": held[middle : middle + tenth], "last": held[-tenth:]}
    for part, seen in parts.items():
        report.add_value(name, "metier", f"memory_{part}_bytes", float(np.median(seen)), len(seen))
    report.add(name, "metier", "long_refused_only", fine)


def _fine(reply: Reply) -> bool:
    return reply.status == 200 or (reply.status == 429 and "retry-after" in reply.headers)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _complete(reply: Reply) -> bool:
    parts = [block.removeprefix("data: ") for block in reply.body.decode().strip().split("\n\n")]
    deltas = [json.loads(part)["choices"] for part in parts[:-1]]
    text = "".join(choices[0]["delta"].get("content") or "" for choices in deltas if choices)
    return parts[-1] == "[DONE]" and text == ANSWER


def _command(folder: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "metier", "ask", "how often?", "-s", "writer", "-t", str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure."""
    arguments = parser("metier serve under load.")
    arguments.add_argument("--minutes", type=float, default=0.0, metavar="M", help="look at the memory for so long")
    args = arguments.parse_args()
    report = Report(args)
    with tempfile.TemporaryDirectory() as place:
        for name in SETS:
            if not args.only or name in args.only:
                measure(args, report, name, write_team(Path(place) / name, name))
    report.finish()


if __name__ == "__main__":
    main()

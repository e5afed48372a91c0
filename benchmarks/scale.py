"""What one team costs with its state on PostgreSQL and its base on a server: what `docs/scale.md` multiplies.

`python benchmarks/scale.py DATA [--limit N] [--json OUT]`

A team of three, whose model is scripted, over a PostgreSQL of the extra `dev`. DATA is not read. `bytes_per_turn`:
tables, indexes and TOAST of the threads, N turns in one conversation (`thread`) and in N (`threads`). `memory_bytes`:
what one `metier serve` holds for itself (unique set size) after some answers, without a base; `connections`: to the
database, at rest.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import httpx
import psutil
import psycopg
from harness import Report, parser

from metier.agents.team import Team
from metier.tests.desk import QUESTION, open_desk, serve_command, write_desk
from metier.tests.postgres import Postgres

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
STORY = "write: once there was a small machine that counted all the lamps in the harbour"


def _size(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = [connection.execute("SELECT pg_total_relation_size(%s)", (table,)).fetchone() for table in TABLES]
    return sum(row[0] for row in found if row)


def _turns(team: Team, url: str, count: int, report: Report) -> None:
    for name in ("thread", "threads"):
        before = _size(url)
        for number in range(count):
            team.ask(STORY, thread_id=name if name == "thread" else f"t{number}", specialist="writer")
        report.add_value(name, "metier", "bytes_per_turn", (_size(url) - before) / count, count)


def _process(server: Postgres, report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = write_desk(Path(folder), checkpoints=server.database())
        with serve_command(desk) as (process, url):
            for _ in range(8):
                httpx.post(f"{url}/v1/runs", json={"task": QUESTION, "wait": True}, timeout=120).raise_for_status()
            report.add_value("serve", "metier", "memory_bytes", psutil.Process(process.pid).memory_full_info().uss)
            with psycopg.connect(server.url("postgres")) as own:
                counting = (
                    "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL AND pid <> pg_backend_pid()"
                )
                row = own.execute(counting).fetchone()
            report.add_value("serve", "metier", "connections", float(row[0] if row else 0))


def main() -> None:
    """Run the benchmark."""
    args = parser(__doc__ or "").parse_args()
    report = Report(args)
    with Postgres() as server, tempfile.TemporaryDirectory() as folder:
        url = server.database()
        with open_desk(Path(folder), checkpoints=url) as team:
            _turns(team, url, args.limit or 40, report)
        _process(server, report)
    report.finish()


if __name__ == "__main__":
    main()

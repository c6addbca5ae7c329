"""Raw SQL through sqlite3, the ceiling that everybody is measured against on SQLite.

Not a queue: no lease that lapses, no retry, no wake-up; what is left is what any queue must at least do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from .base import SQLITE, Contestant, Payload, module

SCHEMA = """
CREATE TABLE job (
    id integer PRIMARY KEY,
    queue text NOT NULL DEFAULT 'default',
    priority integer NOT NULL DEFAULT 0,
    state integer NOT NULL DEFAULT 0,
    handler text NOT NULL,
    payload text NOT NULL,
    enqueued_at text NOT NULL DEFAULT CURRENT_TIMESTAMP,
    claimed_at text
);
CREATE INDEX job_ready ON job (queue, priority, id) WHERE state = 0;
"""
INSERT = "INSERT INTO job (handler, payload) VALUES (?, ?)"


class RawSQLite(Contestant):
    name, engine = "raw", SQLITE
    guarantee = "None of a queue's: no message is lost, but what a dead process had claimed stays claimed."
    configuration = (
        "sqlite3, WAL, synchronous NORMAL. One INSERT and commit each; executemany of 1,000; claim 100 and "
        "delete 100 in two commits."
    )
    pace = 80_000
    table = "job"
    unsettled_sql = "SELECT count(*) FROM job"
    takes_part_in = frozenset({"enqueue", "bulk", "drain", "drain2", "backlog", "snapshot"})

    def worker(self, url: str, *, workload: str) -> list[str]:
        return module("tests.benchmarks.handlers.raw_sqlite", url, self.synchronous)

    def connect(self, url: str) -> None:
        path = url.removeprefix("sqlite:///")
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=20)
        self.connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous={self.synchronous};")

    def install(self) -> None:
        self.connection.executescript(SCHEMA)

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        for payload in payloads:
            self.connection.execute(INSERT, (handler, json.dumps(payload)))

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(INSERT, [(handler, json.dumps(payload)) for payload in payloads])
        self.connection.execute("COMMIT")


class RawSQLiteSynchronously(RawSQLite):
    """Each commit waits for the disk."""

    name = ceiling = "raw, FULL"
    configuration = "synchronous FULL, all else as in raw."
    synchronous = "FULL"
    takes_part_in = frozenset({"enqueue", "bulk", "drain"})

"""Raw SQL through psycopg, the ceiling that everybody is measured against on PostgreSQL.

Not a queue: no lease that lapses, no retry, no wake-up; what is left is what any queue must at least do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from .base import POSTGRES, Contestant, Payload, module

SCHEMA = """
CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text NOT NULL DEFAULT 'default',
    priority smallint NOT NULL DEFAULT 0,
    state smallint NOT NULL DEFAULT 0,
    handler text NOT NULL,
    payload json NOT NULL,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    claimed_at timestamptz
);
CREATE INDEX job_ready ON job (queue, priority, id) WHERE state = 0;
CREATE TABLE done (LIKE job, PRIMARY KEY (id));
CREATE INDEX done_state ON done (state, claimed_at);
CREATE INDEX done_handler ON done (handler, claimed_at);
CREATE TABLE bench_effect (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer NOT NULL);
"""
INSERT = "INSERT INTO job (handler, payload) VALUES (%s, %s)"
COPY = "COPY job (handler, payload) FROM STDIN"


class RawPostgres(Contestant):
    name, engine = "raw", POSTGRES
    guarantee = "None of a queue's: no message is lost, but what a dead process had claimed stays claimed."
    configuration = (
        "psycopg 3, prepared statements. One INSERT and commit each; COPY of 1,000; claim 100 and delete 100 "
        "in two commits; atomic: lock, savepoint, insert, delete and archive, commit, on 8 threads."
    )
    distribution = "psycopg"
    pace = 40_000
    table = "job"
    unsettled_sql = "SELECT count(*) FROM job"
    takes_part_in = frozenset({"enqueue", "bulk", "drain", "drain2", "atomic", "backlog", "snapshot"})

    def worker(self, url: str, *, workload: str) -> list[str]:
        kind = "atomic" if workload == "atomic" else "batches"
        return module("tests.benchmarks.handlers.raw_postgres", url, kind)

    def connect(self, url: str) -> None:
        import psycopg

        self.connection: Any = psycopg.connect(url, autocommit=True, prepare_threshold=0)

    def install(self) -> None:
        for statement in SCHEMA.split(";\n"):
            if statement:
                self.connection.execute(statement)

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        with self.connection.cursor() as cursor:
            for payload in payloads:
                cursor.execute(INSERT, (handler, json.dumps(payload)))

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        with self.connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for payload in payloads:
                copy.write_row((handler, json.dumps(payload)))

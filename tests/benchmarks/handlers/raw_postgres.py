"""The worker of raw SQL on PostgreSQL: claims, counts, deletes, until it is killed.

python -m tests.benchmarks.handlers.raw_postgres URL batches|atomic
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import Any

import psycopg

from tests.benchmarks import tally

SEATS = 8
BATCH = 100

CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT id FROM job WHERE queue = 'default' AND priority = 0 AND state = 0
    ORDER BY id LIMIT {BATCH} FOR UPDATE SKIP LOCKED
)
UPDATE job SET state = 1, claimed_at = now() WHERE id = ANY(ARRAY(SELECT id FROM due)) RETURNING id, payload
"""
DELETE = "DELETE FROM job WHERE id = ANY(%s)"

LOCK = "SELECT id FROM job WHERE id = %s FOR UPDATE"
EFFECT = "INSERT INTO bench_effect (n) VALUES (%s)"
MOVE = "WITH gone AS (DELETE FROM job WHERE id = %s RETURNING *) INSERT INTO done SELECT * FROM gone"


def connect(url: str) -> Any:
    # Nothing is known about a table that was just filled: without this the plan is a matter of luck.
    return psycopg.connect(url, autocommit=True, prepare_threshold=0, options="-c enable_seqscan=off")


def claim(cursor: Any) -> list[tuple[int, dict[str, Any]]]:
    """Claim a batch; wait a little when there is nothing."""
    while not (rows := cursor.execute(CLAIM).fetchall()):
        time.sleep(0.01)
    return rows


def work_in_batches(url: str) -> None:
    with connect(url) as connection, connection.cursor() as cursor:
        while True:
            rows = claim(cursor)
            for _row in rows:
                tally.handled()
            cursor.execute(DELETE, ([id for id, _payload in rows],))


def work_atomically(url: str) -> None:
    """Claim in batches; each message then has a transaction of its own on one of the threads."""
    waiting: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue(BATCH)
    for _seat in range(SEATS):
        threading.Thread(target=take_seat, args=(url, waiting), daemon=True).start()
    with connect(url) as connection, connection.cursor() as cursor:
        while True:
            for row in claim(cursor):
                waiting.put(row)


def take_seat(url: str, waiting: queue.Queue[tuple[int, dict[str, Any]]]) -> None:
    with connect(url) as connection, connection.cursor() as cursor:
        while True:
            id, payload = waiting.get()
            cursor.execute("BEGIN")
            cursor.execute(LOCK, (id,))
            cursor.execute("SAVEPOINT handler")
            cursor.execute(EFFECT, (payload["n"],))
            tally.handled()
            cursor.execute("RELEASE SAVEPOINT handler")
            cursor.execute(MOVE, (id,))
            cursor.execute("COMMIT")


if __name__ == "__main__":
    {"batches": work_in_batches, "atomic": work_atomically}[sys.argv[2]](sys.argv[1])

"""The scheduler of raw SQL on SQLite: fires what is due in our tables, until it is killed.

python -m tests.benchmarks.handlers.raw_sqlite_schedules URL
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from tests.benchmarks.contestants.raw_sqlite import RawSQLite

BATCH = 500

# SQLite writes to one table in a statement: what is due is kept, numbered, until the transaction ends.
DUE = """
CREATE TEMPORARY TABLE due (
    n integer PRIMARY KEY,
    id integer, name text, type text, payload text, next_run_at text, message_id integer
)
"""
FIND = f"""
INSERT INTO due (id, name, type, payload, next_run_at)
SELECT id, name, type, payload, next_run_at FROM django_letsgo_worker_scheduledjob
WHERE enabled AND next_run_at <= ? ORDER BY next_run_at, id LIMIT {BATCH}
"""
NUMBER = """
UPDATE due SET message_id = n + coalesce(
    (SELECT seq FROM sqlite_sequence WHERE name = 'django_letsgo_worker_message'), 0
)
"""
MAKE = """
INSERT INTO django_letsgo_worker_message (id, type, payload, headers, scheduled_job_id, planned_at)
SELECT message_id, type, payload, json_object('schedule', name), id, next_run_at FROM due
"""
NOTE = """
INSERT INTO django_letsgo_worker_occurrence (scheduled_job_id, planned_at, message_id)
SELECT id, next_run_at, message_id FROM due
"""
# The microseconds are those of the time before.
NEXT = "datetime(next_run_at, '+1 day') || substr(next_run_at, 20)"
MOVE = f"""
UPDATE django_letsgo_worker_scheduledjob
SET next_run_at = {NEXT}, next_planned_at = {NEXT}, last_run_at = ?, version = version + 1, problem = ''
WHERE id IN (SELECT id FROM due)
"""


def work(url: str) -> None:
    raw = RawSQLite()
    raw.connect(url)
    execute = raw.connection.execute
    execute(DUE)
    while True:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        execute("BEGIN IMMEDIATE")
        found = execute(FIND, (now,)).rowcount
        if found:
            for statement in (NUMBER, MAKE, NOTE):
                execute(statement)
            execute(MOVE, (now,))
            execute("DELETE FROM due")
        execute("COMMIT")
        if not found:
            time.sleep(0.01)


if __name__ == "__main__":
    work(sys.argv[1])

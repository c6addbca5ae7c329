"""The scheduler of raw SQL on PostgreSQL: fires what is due in our tables, until it is killed.

python -m tests.benchmarks.handlers.raw_postgres_schedules URL
"""

from __future__ import annotations

import sys
import time

from tests.benchmarks.handlers.raw_postgres import connect

BATCH = 500

FIRE = f"""
WITH locked AS MATERIALIZED (
    SELECT id, name, type, payload, next_run_at FROM django_letsgo_worker_scheduledjob
    WHERE enabled AND next_run_at <= now()
    ORDER BY next_run_at, id LIMIT {BATCH} FOR UPDATE SKIP LOCKED
), due AS MATERIALIZED (
    SELECT *, nextval(pg_get_serial_sequence('django_letsgo_worker_message', 'id')) AS message_id FROM locked
), made AS (
    INSERT INTO django_letsgo_worker_message (id, type, payload, headers, scheduled_job_id, planned_at)
    SELECT message_id, type, payload, json_build_object('schedule', name), id, next_run_at FROM due
), noted AS (
    INSERT INTO django_letsgo_worker_occurrence (scheduled_job_id, planned_at, message_id)
    SELECT id, next_run_at, message_id FROM due
)
UPDATE django_letsgo_worker_scheduledjob AS job
SET next_run_at = due.next_run_at + interval '1 day', next_planned_at = due.next_run_at + interval '1 day',
    last_run_at = clock_timestamp(), version = version + 1, problem = ''
FROM due WHERE job.id = due.id
"""


def work(url: str) -> None:
    with connect(url) as connection, connection.cursor() as cursor:
        while True:
            if not cursor.execute(FIRE).rowcount:
                time.sleep(0.01)


if __name__ == "__main__":
    work(sys.argv[1])

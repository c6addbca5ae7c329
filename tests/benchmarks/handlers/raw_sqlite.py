"""The worker of raw SQL on SQLite: claims, counts, deletes, until it is killed.

python -m tests.benchmarks.handlers.raw_sqlite URL NORMAL|FULL
"""

from __future__ import annotations

import json
import sys
import time

from tests.benchmarks import tally
from tests.benchmarks.contestants.raw_sqlite import RawSQLite, RawSQLiteSynchronously

BATCH = 100
CLAIM = f"""
UPDATE job SET state = 1, claimed_at = CURRENT_TIMESTAMP
WHERE id IN (
    SELECT id FROM job WHERE queue = 'default' AND priority = 0 AND state = 0 ORDER BY id LIMIT {BATCH}
)
RETURNING id, payload
"""


def work(url: str, synchronous: str) -> None:
    raw = RawSQLiteSynchronously() if synchronous == "FULL" else RawSQLite()
    raw.connect(url)
    execute = raw.connection.execute
    while True:
        # BEGIN IMMEDIATE waits for its turn; a statement that upgrades a read lock would fail at once.
        execute("BEGIN IMMEDIATE")
        rows = execute(CLAIM).fetchall()
        execute("COMMIT")
        if not rows:
            time.sleep(0.01)
            continue
        for _id, payload in rows:
            json.loads(payload)
            tally.handled()
        execute("BEGIN IMMEDIATE")
        raw.connection.executemany("DELETE FROM job WHERE id = ?", [(id,) for id, _payload in rows])
        execute("COMMIT")


if __name__ == "__main__":
    work(*sys.argv[1:])

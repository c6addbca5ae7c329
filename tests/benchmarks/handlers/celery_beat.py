"""The app of celery that its beat is given."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bench", broker=os.environ["LETSGO_BENCH_BROKER"])
app.conf.timezone = "UTC"
app.conf.task_ignore_result = True
# Otherwise beat adds a schedule of its own.
app.conf.result_expires = None


@app.task(name="noop")
def noop(n: int) -> None:
    """Nobody runs it: it is only made."""

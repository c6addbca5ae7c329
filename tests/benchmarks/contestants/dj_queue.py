"""dj-queue, a backend of Django's Tasks after Rails' Solid Queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import Payload, TasksContestant, module


class DjQueue(TasksContestant):
    name = "dj-queue"
    guarantee = "At most once after the start: what a dead worker ran is kept as failed, for people to retry."
    configuration = (
        "8 threads (3 by default), polling every 0.1 s and LISTEN (its defaults), a process each for "
        "supervisor, worker, dispatcher and scheduler (its default); enqueue_all."
    )
    needs = ("dj_queue", "django.tasks")
    distribution = "dj-queue"
    pace = 500
    backend = "dj_queue.backend.DjQueueBackend"
    apps = ("dj_queue",)
    table = "dj_queue_ready_executions"
    unsettled_sql = (
        "SELECT (SELECT count(*) FROM dj_queue_ready_executions) "
        "+ (SELECT count(*) FROM dj_queue_claimed_executions)"
    )
    options: dict[str, Any] = {"workers": [{"queues": "*", "threads": 8, "polling_interval": 0.1}]}

    def __init__(self, engine: str) -> None:
        self.engine = engine

    def worker(self, url: str, *, workload: str) -> list[str]:
        return module("django", "dj_queue")

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        task = self.task(handler)
        task.get_backend().enqueue_all([(task, [payload], {}) for payload in payloads])

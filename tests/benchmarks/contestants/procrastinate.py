"""procrastinate, on psycopg 3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from .base import POSTGRES, Contestant, Payload, module


class Procrastinate(Contestant):
    name, engine = "procrastinate", POSTGRES
    guarantee = "At least once where a project schedules the retry of stalled jobs, as it documents."
    configuration = (
        "worker --concurrency 8 (1 by default), LISTEN (its default), async tasks; batch_defer. Schedules: "
        "app.periodic for each, deferred by a worker of a queue in which there is nothing."
    )
    needs = ("procrastinate",)
    distribution = "procrastinate"
    pace = 600
    table = "procrastinate_jobs"
    unsettled_sql = f"SELECT count(*) FROM {table} WHERE status IN ('todo', 'doing')"
    made_sql = f"SELECT count(*) FROM {table}"
    takes_part_in = Contestant.takes_part_in | {"schedules"}

    def environment(self, url: str) -> dict[str, str]:
        return {"LETSGO_BENCH_DSN": url}

    def worker(self, url: str, *, workload: str) -> list[str]:
        app = "tests.benchmarks.handlers.procrastinate.app"
        return module("procrastinate", "--app", app, "worker", "--concurrency", "8")

    def scheduler(self, url: str) -> list[str]:
        app = "tests.benchmarks.handlers.procrastinate_schedules.app"
        return module("procrastinate", "--app", app, "worker", "--queues", "of-nobody")

    def connect(self, url: str) -> None:
        from tests.benchmarks.handlers import procrastinate

        self.tasks: Any = procrastinate
        procrastinate.app.open()

    def install(self) -> None:
        self.tasks.app.schema_manager.apply_schema()

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        task = getattr(self.tasks, handler)
        for payload in payloads:
            task.defer(payload=payload)

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        getattr(self.tasks, handler).batch_defer(*({"payload": payload} for payload in payloads))

    def schedule(self, number: int, due: datetime) -> None:
        """They are declared in code, where the scheduler's process finds their number and time."""

"""django-ox, a backend of Django's Tasks."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Payload, TasksContestant, module


class DjangoOx(TasksContestant):
    name = "django-ox"
    guarantee = "At least once: a task whose worker dies is taken up again after 300 s."
    configuration = "ox_worker --interval 0.1 (1 s by default) --concurrency 4 (1 by default); enqueue_many."
    needs = ("django_ox", "django.tasks")
    distribution = "django-ox"
    backend = "django_ox.backend.OxBackend"
    apps = ("django_ox",)
    table = "django_ox_oxtask"
    unsettled_sql = f"SELECT count(*) FROM {table} WHERE status IN ('READY', 'WAITING', 'RUNNING')"

    def __init__(self, engine: str) -> None:
        self.engine = engine

    def worker(self, url: str, *, workload: str) -> list[str]:
        return module("django", "ox_worker", "--interval", "0.1", "--concurrency", "4")

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        from django_ox.bulk import enqueue_many

        enqueue_many(self.task(handler), [((payload,), {}) for payload in payloads])

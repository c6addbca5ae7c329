"""This app, by its public names and with its default settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from .base import POSTGRES, Contestant, DjangoContestant, Payload, module


class Ours(DjangoContestant):
    guarantee = "At least once: a message whose worker dies is taken up again within the lease of 30 s."
    configuration = "The defaults: 8 seats, finished messages kept for 7 days."
    distribution = "django-letsgo-worker"
    settings = {
        "INSTALLED_APPS": ["django_letsgo_worker"],
        "LETSGO_WORKER": {"IMPORTS": ["tests.benchmarks.handlers.ours"]},
    }
    pace = 20_000
    table = "django_letsgo_worker_message"
    archive_table = "django_letsgo_worker_archivedmessage"
    forget_upkeep_sql = "DELETE FROM django_letsgo_worker_housekeeping"
    unsettled_sql = f"SELECT count(*) FROM {table}"
    made_sql = unsettled_sql
    takes_part_in = Contestant.takes_part_in | {
        "atomic", "backlog", "archive", "lanes", "prune", "snapshot", "fleet", "fleet-drain",
        "schedules", "schedules2", "schedules-idle", "schedules-look",
    }  # fmt: skip

    def __init__(self, engine: str, name: str = "ours") -> None:
        self.name, self.engine = name, engine
        first = "min(enqueued_at)"
        seconds = f"extract(epoch FROM {first})"
        if engine != POSTGRES:
            seconds = f"(julianday({first}) - julianday('1970-01-01')) * 86400"
        self.first_made_sql = f"SELECT {seconds} FROM {self.table}"

    def worker(self, url: str, *, workload: str) -> list[str]:
        return module("django", "runworker")

    def scheduler(self, url: str) -> list[str]:
        return module("django", "runscheduler")

    def install(self) -> None:
        from django.db import connection

        super().install()
        key = "bigint GENERATED ALWAYS AS IDENTITY" if connection.vendor == "postgresql" else "integer"
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE bench_effect (id {key} PRIMARY KEY, n integer NOT NULL)")

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        from django_letsgo_worker import enqueue

        for payload in payloads:
            enqueue(f"bench:{handler}", payload)

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        from django_letsgo_worker import enqueue_many

        enqueue_many((f"bench:{handler}", payload) for payload in payloads)

    def enqueue_across(self, queues: int, handler: str, payloads: Sequence[Payload]) -> None:
        from django_letsgo_worker import enqueue_many

        type = f"bench:{handler}"
        enqueue_many(
            {"type": type, "payload": payload, "queue": f"bench-{payload['n'] % queues}"}
            for payload in payloads
        )

    def archive(self, number: int) -> None:
        """Double an archived message until there are enough, under ids that no sequence gives."""
        from django.db import connection

        from django_letsgo_worker import enqueue
        from django_letsgo_worker.messages import cancel
        from django_letsgo_worker.models import ArchivedMessage

        cancel(enqueue("bench:noop", {"n": 0}).pk)
        ArchivedMessage.objects.update(id=-1, outcome="succeeded")
        facts = ", ".join(field.column for field in ArchivedMessage._meta.fields if not field.primary_key)
        table, there = ArchivedMessage._meta.db_table, 1
        with connection.cursor() as cursor:
            while there < number:
                more = min(there, number - there)
                cursor.execute(
                    f"INSERT INTO {table} (id, {facts}) SELECT id - {there}, {facts} FROM {table} "
                    f"WHERE id >= -{more}"
                )
                there += more

    def archive_by_age(self, number: int) -> None:
        """Copy an archived message; vacuum and flush, so that nobody does while something is measured."""
        from django.db import connection

        from django_letsgo_worker.models import ArchivedMessage

        self.archive(1)
        own = {"id", "finished_at"}
        facts = ", ".join(field.column for field in ArchivedMessage._meta.fields if field.column not in own)
        table = self.archive_table
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (id, finished_at, {facts}) "
                f"SELECT -age, now() - INTERVAL '8 days' - age * INTERVAL '6 days' / {number}, {facts} "
                f"FROM {table}, generate_series({number}, 2, -1) age"
            )
            cursor.execute(f"UPDATE {table} SET finished_at = now() - INTERVAL '8 days' WHERE id = -1")
            cursor.execute(f"VACUUM ANALYZE {table}")
            cursor.execute("CHECKPOINT")

    def prune(self) -> int:
        from django_letsgo_worker.messages import prune

        return prune()

    def schedule(self, number: int, due: datetime) -> None:
        """Plan one by the public verb, and copy its row."""
        from django_letsgo_worker import schedules
        from django_letsgo_worker.models import ScheduledJob

        day_before = due - timedelta(days=1)
        first = schedules.add("bench-0", "rate(1 day)", "bench:noop", {"n": 0}, now=day_before)
        first.refresh_from_db()
        own = {"id", "name", "payload"}
        columns = [field.attname for field in first._meta.concrete_fields if field.name not in own]
        plan = {column: getattr(first, column) for column in columns}
        copies = (ScheduledJob(name=f"bench-{n}", payload={"n": n}, **plan) for n in range(1, number))
        ScheduledJob.objects.bulk_create(copies, batch_size=500)


class OursKeepingNothing(Ours):
    """Messages vanish when they are done, as in queues that only delete."""

    configuration = "KEEP_SUCCEEDED_FOR=0, all else as in ours."
    takes_part_in = frozenset({"drain", "drain2"})

    def environment(self, url: str) -> dict[str, str]:
        return {**super().environment(url), "LETSGO_WORKER_KEEP_SUCCEEDED_FOR": "0"}


class OursWithOneSeat(Ours):
    configuration = "--concurrency 1, all else as in ours."
    takes_part_in = frozenset({"snapshot"})

    def worker(self, url: str, *, workload: str) -> list[str]:
        return [*super().worker(url, workload=workload), "--concurrency", "1"]


class OursPollingRarely(Ours):
    configuration = "POLL_SECONDS=60, all else as in ours."
    takes_part_in = frozenset({"schedules-idle"})

    def environment(self, url: str) -> dict[str, str]:
        return {**super().environment(url), "LETSGO_WORKER_POLL_SECONDS": "60"}


class OursSynchronously(Ours):
    """On SQLite: each commit waits for the disk."""

    configuration = "synchronous FULL, all else as in ours."
    ceiling = "raw, FULL"
    synchronous = "FULL"
    takes_part_in = frozenset({"enqueue", "bulk", "drain"})

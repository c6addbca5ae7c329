"""What a contestant is: how it is installed, how it enqueues, and the command that starts its worker.

One object serves two processes. The measuring process asks for names and commands, the enqueuing one
(client.py) connects; so what a contestant needs is imported only when it connects.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

Payload = dict[str, Any]

POSTGRES, SQLITE = "postgres", "sqlite"


class Contestant:
    """A queue, set up at its honest best."""

    name: str
    engine: str
    # What becomes of a message when a process dies, in one sentence.
    guarantee: str
    # What was set, and why, where it isn't the default.
    configuration: str
    # The modules without which it is left out.
    needs: tuple[str, ...] = ()
    # The distribution whose version is told.
    distribution: str = ""
    # Roughly how many messages a second one worker drains: backlogs are sized by it.
    pace = 300
    # What SQLite waits for at a commit.
    synchronous = "NORMAL"
    # How many messages are not acknowledged yet.
    unsettled_sql: str
    # The table that a session reads to hold an old snapshot.
    table: str
    # Where its finished messages are, and what lets the next worker prune at once, whoever did a moment ago.
    archive_table = forget_upkeep_sql = ""
    # How many messages its schedulers have made.
    made_sql: str
    # When they made the first, in seconds since 1970, where the rows tell; else it is the first that is seen.
    first_made_sql = ""
    # What adding one schedule, and reading it when a scheduler starts, takes at the most.
    seconds_per_schedule = 0.002
    # The contestant that its rates are told beside.
    ceiling = "raw"
    takes_part_in = frozenset({"enqueue", "bulk", "drain", "drain2", "pickup", "load", "idle"})

    def __str__(self) -> str:
        return self.name

    def missing(self) -> list[str]:
        """Return the modules that aren't installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def environment(self, url: str) -> dict[str, str]:
        """Return what both its clients and its workers find in their environment."""
        return {"DATABASE_URL": url}

    def worker(self, url: str, *, workload: str) -> list[str]:
        """Return the command of a worker, as its users would start it."""
        raise NotImplementedError

    def scheduler(self, url: str) -> list[str]:
        """Return the command of a process that fires schedules, and does nothing else."""
        raise NotImplementedError

    # -- in the process that enqueues ---------------------------------------------------------------------

    def connect(self, url: str) -> None:
        raise NotImplementedError

    def install(self) -> None:
        """Create the tables."""
        raise NotImplementedError

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        """Enqueue one after the other, each with a commit of its own."""
        raise NotImplementedError

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        """Enqueue all with one call, or in one transaction where there is no such call."""
        raise NotImplementedError

    def enqueue_across(self, queues: int, handler: str, payloads: Sequence[Payload]) -> None:
        """Enqueue all with one call, in turn into so many queues, by the number that each payload has."""
        raise NotImplementedError

    def archive(self, number: int) -> None:
        """Add so many finished messages to the history."""
        raise NotImplementedError

    def archive_by_age(self, number: int) -> None:
        """Add so many that finished 8 to 14 days ago, one after the other; their ids end with -1."""
        raise NotImplementedError

    def prune(self) -> int:
        """Delete what was kept for long enough; return how many."""
        raise NotImplementedError

    def schedule(self, number: int, due: datetime) -> None:
        """Add so many schedules that run once a day, or once a year, and next at `due`."""
        raise NotImplementedError


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this interpreter."""
    return [sys.executable, "-m", name, *arguments]


class DjangoContestant(Contestant):
    """A contestant that is an app of a Django project."""

    settings: dict[str, Any]

    def environment(self, url: str) -> dict[str, str]:
        return {
            **super().environment(url),
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.django_settings",
            "LETSGO_BENCH_SYNCHRONOUS": self.synchronous,
            "LETSGO_BENCH_SETTINGS": json.dumps(self.settings),
        }

    def connect(self, url: str) -> None:
        import django

        django.setup()

    def install(self) -> None:
        from django.core.management import call_command

        call_command("migrate", verbosity=0)


class TasksContestant(DjangoContestant):
    """A backend of Django's Tasks framework: it enqueues by the task, whatever stores it."""

    backend: str
    apps: tuple[str, ...]
    options: dict[str, Any] = {}

    @property
    def settings(self) -> dict[str, Any]:  # type: ignore[override]
        return {
            "INSTALLED_APPS": list(self.apps),
            "TASKS": {"default": {"BACKEND": self.backend, "QUEUES": [], "OPTIONS": self.options}},
        }

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        task = self.task(handler)
        for payload in payloads:
            task.enqueue(payload)

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        from django.db import transaction

        with transaction.atomic():
            self.enqueue(handler, payloads)

    def task(self, handler: str) -> Any:
        from tests.benchmarks.handlers import django_tasks

        return getattr(django_tasks, handler)

"""The incident: a site in trouble, with real workers and schedulers that are killed.

What operators are then told is asked by the tests; nothing is asserted here.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.db.models import F

from django_letsgo_worker import enqueue, enqueue_many, messages, queues, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import BulkOperation, Message, Process, ScheduledJob
from tests.support import Managed, wait_until

HANDLERS = "tests.incident_handlers"
ENVIRONMENT = {
    "LETSGO_WORKER_AUTODISCOVER": "",
    "LETSGO_WORKER_IMPORTS": HANDLERS,
    "LETSGO_WORKER_LEASE_SECONDS": "5",
}
WEB_1 = ("runworker", "--name", "web-1", "--queues", "videos,images")
WEB_2 = ("runworker", "--name", "web-2", "--queues", "billing,mail,images,default,report,webhook")
DEAD = {"billing:refund": 630, "mail:send": 12, "image:resize": 952}
CHARGES, NEWSLETTERS, SEARCHES, IMPORTS, VIDEOS = 2000, 2200, 700, 100, 3


class Incident:
    """A site whose trouble begins when begin() returns; the processes that still live are in `living`."""

    def __init__(self, manage: Callable[..., Managed]) -> None:
        self._manage = manage
        # Whether the handlers of processes that are started from now on do their work.
        self.is_over = False
        # This process knows the types, too, as a web process of the site does: in a register of this test.
        sys.modules.pop(HANDLERS, None)
        self.quiet: list[str] = importlib.import_module(HANDLERS).QUIET

    def begin(self) -> None:
        """Let the site work, bring it into trouble, kill three of its processes, and let a minute pass."""
        web_1, self.web_2 = self.start(*WEB_1), self.start(*WEB_2)
        schedulers = [self.start("runscheduler", name) for name in ("clock-1", "clock-2")]
        for process in (web_1, self.web_2):
            process.wait_for_line("Worker ")
        _add_schedules()
        _enqueue_what_ends(self.quiet)
        wait_until(lambda: not Message.objects.exists(), what="all of the first part has ended")
        _break_two_schedules()
        _enqueue_what_troubles()
        wait_until(self._is_in_trouble, what="each charge has failed once, and three videos run", timeout=60)
        for process in (web_1, *schedulers):
            process.kill()
        let_a_minute_pass("web-1", "clock-1", "clock-2")

    def start(self, *arguments: str) -> Managed:
        over = {"INCIDENT_OVER": "1"} if self.is_over else {}
        return self._manage(*arguments, env=ENVIRONMENT | over)

    def _is_in_trouble(self) -> bool:
        live = Message.objects
        failed = live.filter(type="billing:charge", attempts__gt=0, leased_by=None).count()
        runs = live.filter(type="video:encode", leased_by__isnull=False).count()
        return failed >= CHARGES and runs == VIDEOS


def begin_to_mend() -> None:
    """Redrive the dead letters of one type over a day; the first of them lives when this returns."""
    messages.operate("redrive", type="image:resize", over=86_400, by="ada", reason="the disk is larger now")
    wait_until(lambda: BulkOperation.objects.get().done, what="the first dead letter is redriven")


def let_a_minute_pass(*names: str) -> None:
    """Move the last signs of life of dead processes, and the leases that they held, a minute back."""
    dead = Process.objects.filter(name__in=names)
    clock = engine_for("default").clock()
    ids = list(dead.values_list("pk", flat=True))
    dead.update(heartbeat_at=F("heartbeat_at") - timedelta(minutes=1))
    Message.objects.filter(leased_by__in=ids).update(visible_at=clock - timedelta(seconds=50))


def _add_schedules() -> None:
    add = schedules.add
    add("Stock sync", "*/5 * * * *", "stock:sync", timezone="Europe/Copenhagen")
    add("Nightly sales report", "30 2 * * MON-FRI", "report:sales", timezone="America/New_York")
    add("Tax report", "0 6 1 * *", "report:tax", timezone="Europe/Berlin")
    add("Weekly digest", "rate(7 days)", "mail:newsletter", {"list": "all"})
    add("Cache warm", "@every 30s", "cache:warm")
    add("Year's end", "at(2099-12-31T23:00:00)", "report:yearly", timezone="Europe/Copenhagen")
    add("Legacy import", "0 * * * *", "legacy:import")
    add("CRM pull", "*/10 * * * *", "crm:pull", timezone="Asia/Tokyo")
    add("Audit", "15 * * * *", "audit:write")
    add("Charge retries", "rate(1 minute)", "billing:charge", {"order": 1})
    for tenant in range(12):
        add(f"Tenant {tenant:02} export", f"{tenant * 5} 1 * * *", "export:csv", {"tenant": tenant})
    schedules.disable("Weekly digest", by="anna", reason="the list is being cleaned")


def _enqueue_what_ends(types: list[str]) -> None:
    chance = random.Random(3)
    enqueue_many([("billing:refund", {"order": n, "card": "4111111111111111"}) for n in range(630)])
    enqueue_many([("mail:send", {"user": n}) for n in range(12)])
    enqueue_many([("image:resize", {"image": n}) for n in range(952)])
    quiet = [type for type in types if not type.startswith("search:")]
    enqueue_many([(chance.choice(quiet), {"n": n}) for n in range(3000)])


def _break_two_schedules() -> None:
    """As people do with SQL: a zone that is none, and a type with two letters in the wrong order."""
    table = ScheduledJob._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET timezone = 'Asia/Nowhere' WHERE name = 'Tax report'")
        cursor.execute(f"UPDATE {table} SET type = 'aduit:write' WHERE name = 'Audit'")
    wait_until(lambda: ScheduledJob.objects.get(name="Tax report").problem, what="a scheduler has seen it")


def _enqueue_what_troubles() -> None:
    queues.pause("mail", by="anna", reason="SMTP provider moves, ticket 4711")
    enqueue_many([("billing:charge", {"order": n}) for n in range(CHARGES)])
    enqueue_many([("mail:newsletter", {"user": n, "email": f"u{n}@example.com"}) for n in range(NEWSLETTERS)])
    enqueue_many([("search:index", {"n": n}) for n in range(SEARCHES)])
    enqueue_many([("legacy:import", {"n": n}) for n in range(IMPORTS)])
    for n in range(VIDEOS):
        enqueue("video:encode", {"video": n, "token": "s3cr3t"}, unique_key=f"video-{n}")
    enqueue("parcel:book", {"n": 1}, delay=timedelta(hours=2))
    enqueue("parcel:book", {"n": 2}, delay=timedelta(days=3))

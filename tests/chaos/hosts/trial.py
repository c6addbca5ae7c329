"""The trial: the hosts of a site at work, and one fault after the other.

Who holds what, and since when, is read from the rows: leases are by the database's clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from django.db.models import Max, Min

from django_letsgo_worker import schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import ArchivedMessage, Message, Process, ScheduledJob
from tests.support import MANAGE, ROOT, Managed, wait_until
from tests.testapp.models import Entry

from . import clocks
from .network import SCHEDULERS, SERVER, WORKERS, Host
from .site import SLOW_SECONDS

HOUR = 3600
# By how many seconds the clocks of hosts are wrong.
WRONG_CLOCKS = {"w2": HOUR, "w3": -HOUR, "s1": HOUR, "s2": -HOUR}
LEASE = timedelta(seconds=4)
PATIENCE = 60.0
# For what must be done within a lease, in seconds.
A_FEW_LEASES = 5 * LEASE.total_seconds()
EXPRESSIONS = {"each second": "@every 1s", "each two": "@every 2s", "each three": "@every 3s"}
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], sys.argv[2])).close()"
ROUND_TRIP = f"from timeit import repeat; print(min(repeat({CONNECT!r}, number=1)))"


def clock() -> datetime:
    return engine_for("default").clock()


@dataclass
class Cut:
    """How the others got over the loss of a host of workers, and it over theirs."""

    host: str
    # By id, of what it held when it was cut off: how long after the lapse of its lease another one began it.
    late: dict[int, timedelta] = field(default_factory=dict)
    never: int = 0
    # In seconds from its return until it began something new; None if it did not.
    back_after: float | None = None


@dataclass
class Trial:
    """The processes on the hosts, and what became of each fault."""

    hosts: Mapping[str, Host]
    url: str
    directory: Path
    without: str = ""
    sees_a_wrong_clock: dict[str, bool] = field(default_factory=dict)
    # In seconds.
    round_trips: dict[str, float] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    # Whether the schedules went on while this scheduler was cut off.
    went_on_without: dict[str, bool] = field(default_factory=dict)
    processes: dict[str, Managed] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.account = self.directory / "account"
        self.library = clocks.make_library(self.directory)

    def start(self) -> None:
        """Start all processes, each on its host, and the site once the others are at work."""
        for name in WORKERS:
            self._run(name, "runworker", "--concurrency", "8", "--name", name)
        for name in SCHEDULERS:
            self._run(name, "runscheduler", name)
        everybody = Process.objects.filter(state="running")
        wait_until(
            lambda: everybody.count() == len(self.processes), timeout=PATIENCE, what="workers and schedulers"
        )
        for name, expression in EXPRESSIONS.items():
            schedules.add(name, expression, "work:note", {"n": 0}, misfire_grace=timedelta(hours=1))
        here = f"from tests.chaos.hosts import site; site.run({str(self.account)!r})"
        self._run("site", "shell", "-c", here)

    def _environment(self, name: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "tests.testapp.settings",
            "LETSGO_WORKER_LEASE_SECONDS": str(LEASE.total_seconds()),
            "LETSGO_WORKER_SCHEDULE": "",
            "TESTAPP_WITHOUT": self.without,
            **clocks.off_by(WRONG_CLOCKS.get(name, 0), self.library),
        }

    def _run(self, name: str, *arguments: str) -> None:
        inside = self.hosts[name].inside
        self.processes[name] = Managed(arguments, self._environment(name), through=inside)

    def _ask(self, name: str, *command: str) -> str:
        """Run a program of Python's on a host, and return what it prints."""
        whole = [*self.hosts[name].inside, sys.executable, *command]
        return subprocess.run(
            whole, env=self._environment(name), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
        ).stdout

    def look_at_standing_faults(self) -> None:
        """Ask hosts whose clocks are wrong what they say of them, and all for how long the server takes."""
        port = self.url.rpartition(":")[2].partition("/")[0]
        for name in WRONG_CLOCKS:
            said = self._ask(name, str(MANAGE), "letsgo", "doctor", "--json")
            self.sees_a_wrong_clock[name] = "clock_skew" in said
        for name in self.hosts:
            self.round_trips[name] = float(self._ask(name, "-c", ROUND_TRIP, SERVER, port))

    # -- faults ----------------------------------------------------------------------------------------

    def cut_off(self, name: str) -> None:
        """Cut a host off, and let it come back."""
        if name in WORKERS:
            self._cut_off_a_worker(name)
        else:
            self._cut_off_a_scheduler(name)

    def _cut_off_a_worker(self, name: str) -> None:
        """Cut a host off that holds slow messages of both kinds, for two leases, until others have them."""
        host, process = self.hosts[name], Process.objects.get(name=name, state="running")
        held = Message.objects.filter(leased_by=process.pk)

        def holds_both() -> bool:
            slow = {row.type for row in held.all() if row.payload.get("linger") == SLOW_SECONDS}
            return slow >= {"work:note", "work:effect"}

        wait_until(holds_both, timeout=PATIENCE, what=f"slow messages in the hands of {name}")
        host.cut_off()
        back_at = clock() + 2 * LEASE
        cut = Cut(name)
        self.cuts.append(cut)
        self._watch_takeover(cut, {message.pk: message for message in held.all()})
        wait_until(lambda: clock() > back_at, timeout=PATIENCE)
        host.join()
        cut.back_after = self._wait_until_it_begins_something(name)

    def _watch_takeover(self, cut: Cut, left: dict[int, Message]) -> None:
        """Note when each of these is begun by another; what its holder's last words settled is left out."""
        give_up = time.monotonic() + LEASE.total_seconds() + A_FEW_LEASES
        while left and time.monotonic() < give_up:
            now = clock()
            there = Message.objects.in_bulk(list(left))
            gone = ArchivedMessage.objects.in_bulk([pk for pk in left if pk not in there])
            for pk, before in list(left.items()):
                row = there.get(pk) or gone.get(pk)
                if row is None:
                    # It is on its way from one table to the other.
                    continue
                if row.receipt > before.receipt:
                    began_at = getattr(row, "leased_at", None) or now
                    cut.late[pk] = began_at - before.visible_at
                    del left[pk]
                elif pk in gone or row.leased_by is None:
                    del left[pk]
                else:
                    left[pk] = row
            time.sleep(0.1)
        cut.never = len(left)

    def _wait_until_it_begins_something(self, name: str) -> float | None:
        last, since = Entry.objects.aggregate(last=Max("pk"))["last"], time.monotonic()
        begun = Entry.objects.filter(pk__gt=last, process=self.processes[name].pid)
        try:
            wait_until(begun.exists, timeout=PATIENCE)
        except AssertionError:
            return None
        return time.monotonic() - since

    def _cut_off_a_scheduler(self, name: str) -> None:
        """Cut a host off for two leases, until all that is planned meanwhile was fired by the other one."""
        self.hosts[name].cut_off()
        back_at = clock() + 2 * LEASE
        plans = ScheduledJob.objects.filter(enabled=True)
        try:
            wait_until(lambda: plans.aggregate(first=Min("next_run_at"))["first"] > back_at, timeout=PATIENCE)
        except AssertionError:
            self.went_on_without[name] = False
        else:
            self.went_on_without[name] = True
        self.hosts[name].join()

    # -- the end ---------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End the site, then the schedulers, and the workers once nothing is left to do."""
        for name in ("site", *SCHEDULERS):
            self.codes[name] = self.processes[name].stop(PATIENCE)
        wait_until(lambda: not Message.objects.exists(), timeout=PATIENCE, step=0.1, what="an empty table")
        for name in WORKERS:
            self.codes[name] = self.processes[name].stop(PATIENCE)

    def clean_up(self) -> None:
        for process in self.processes.values():
            process.clean_up()

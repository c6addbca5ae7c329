"""Schedules that are due at one moment, and six schedulers, one of which is killed again and again.

Meanwhile rows are edited in SQL and by verbs and switched off and on, all schedules are paused for a second,
and a past range is backfilled by two processes at once, one of which is killed and started again. Then:

1. each (schedule, planned time) has exactly one occurrence;
2. each occurrence that was not skipped has exactly one message, with its planned time, and no message is
   without one;
3. each planned time of the present rule until the next run is recorded, also those that were backfilled, and
   of a row that nobody touched each is recorded once;
4. nothing that was planned while all were paused ran;
5. no row says that it is broken.

C. Whatever breaks one of them is found. Where a row is moved and fired in two transactions, a kill breaks 3.

CHAOS_SECONDS says how long (8 by default), CHAOS_SEED repeats a run's choices.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker import schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from tests.support import wait_until

from . import crowd
from .ledger import Ledger, complaints, read_ledgers

pytestmark = pytest.mark.django_db(transaction=True)

# On SQLite all processes wait for one lock.
CROWD = {"sqlite": 100, "postgres": 500, "mariadb": 500}
EVERY, OTHERS = "@every 1s", ("@every 1s", "@every 2s", "@every 3s")
JUST_BEFORE = timedelta(microseconds=1)
# More planned times than one transaction of a backfill has.
BACKFILLED = timedelta(seconds=600)


def clock() -> datetime:
    return engine_for("default").clock()


def add_crowd(count: int) -> list[ScheduledJob]:
    """Add schedules that run every second, all of them next at one moment, and on a grid from an hour ago."""
    now = clock()
    one = schedules.add(
        "row 0", EVERY, "tick", misfire_grace=timedelta(hours=1), now=now - timedelta(hours=1)
    )
    first = next(one.recurrence.occurrences_after(now + timedelta(seconds=1)))
    ScheduledJob.objects.update(next_run_at=first, next_planned_at=first)
    one.refresh_from_db()
    columns = {column.attname: getattr(one, column.attname) for column in ScheduledJob._meta.concrete_fields}
    del columns["id"]
    ScheduledJob.objects.bulk_create(ScheduledJob(**columns | {"name": f"row {n}"}) for n in range(1, count))
    return list(ScheduledJob.objects.order_by("pk"))


# -- the chaos ---------------------------------------------------------------------------------------------


def edit_in_sql(names: list[str], chance: random.Random) -> None:
    ScheduledJob.objects.filter(name__in=names).update(schedule=chance.choice(OTHERS))


def edit_by_verb(names: list[str], chance: random.Random) -> None:
    for name in names:
        schedules.update(name, schedule=chance.choice(OTHERS), priority=chance.randrange(100))


def change_the_priority(names: list[str], chance: random.Random) -> None:
    for name in names:
        schedules.update(name, priority=chance.randrange(100))


def switch(names: list[str], chance: random.Random) -> None:
    for name in names:
        chance.choice((schedules.enable, schedules.disable))(name)


EDITS: tuple[Callable[[list[str], random.Random], None], ...] = (
    edit_in_sql,
    edit_by_verb,
    change_the_priority,
    switch,
)


def edit(names: list[str], chance: random.Random, *, until: Callable[[], object]) -> int:
    """Edit some of the rows, again and again; return how often."""
    count = 0
    while not until():
        chance.choice(EDITS)(chance.sample(names, 5), chance)
        count += 1
    return count


BACKFILL = """
from datetime import datetime
from django_letsgo_worker import schedules
for name in {names!r}:
    schedules.backfill(name, datetime.fromisoformat({start!r}), datetime.fromisoformat({end!r}))
"""


def is_caught_up(moment: datetime) -> bool:
    """Whether all that was due at a moment is done, and every edit was attended to."""
    return not (
        ScheduledJob.objects.due(moment).exists() or ScheduledJob.objects.needing_a_look(clock()).exists()
    )


@pytest.mark.timeout(180)
def test_a_crowd_due_at_one_moment_fires_once_each_whoever_is_killed_and_edits(
    manage, seed, chaos_seconds, engine
):
    chance = random.Random(seed)
    jobs = add_crowd(CROWD[engine])
    names, first = [job.name for job in jobs], jobs[0].next_run_at
    edited, backfilled = names[: len(names) // 4], names[-10:]
    command = f"from tests.chaos import crowd; crowd.run({seed}, {chaos_seconds})"
    schedulers = manage("shell", "-c", command, env={"LETSGO_WORKER_SCHEDULE": ""})
    edits = edit(edited, chance, until=Occurrence.objects.exists)

    end = clock()
    script = BACKFILL.format(names=backfilled, start=str(end - BACKFILLED), end=str(end))
    backfills = [manage("shell", "-c", script) for _ in range(2)]
    edits += edit(edited, chance, until=Occurrence.objects.filter(is_backfill=True).exists)
    backfills[0].kill()
    backfills[0] = manage("shell", "-c", script)

    schedules.pause_all()
    paused = clock()
    edits += edit(edited, chance, until=lambda: clock() > paused + timedelta(seconds=1))
    resumed = clock()
    schedules.resume_all()

    edits += edit(edited, chance, until=lambda: any(crowd.OVER in line for line in schedulers.stdout))
    assert [backfill.wait() for backfill in backfills] == [0, 0]
    over = clock()
    wait_until(lambda: is_caught_up(over), timeout=60, what="all that was due")
    assert schedulers.stop() == 0
    print(f"{edits} edits, {Occurrence.objects.count()} occurrences; {schedulers.stdout[-1].strip()}")

    ledgers = read_ledgers(first - JUST_BEFORE)
    for ledger in ledgers:
        ledger.paused = paused, resumed
        ledger.is_edited = ledger.job.name in edited
        if ledger.job.name in backfilled:
            ledger.is_backfilled, ledger.since = True, end - BACKFILLED - JUST_BEFORE
    found = {ledger.job.name: complaints(ledger) for ledger in ledgers}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


# -- the control -------------------------------------------------------------------------------------------


def second(n: float) -> datetime:
    return datetime(2027, 1, 1, tzinfo=UTC) + timedelta(seconds=n)


@pytest.fixture
def ledger(transactional_db) -> Ledger:
    """Seven planned times of one schedule, two of which came while all were paused."""
    schedules.add("row 0", EVERY, "tick", misfire_grace=timedelta(hours=1), now=second(0))
    schedules.fire_due(now=second(3))
    schedules.pause_all(now=second(3.5))
    schedules.resume_all(now=second(5.5))
    schedules.fire_due(now=second(7))
    (ledger,) = read_ledgers(second(0))
    ledger.paused = second(3.5), second(5.5)
    assert [one.planned_at for one in ledger.fired] == [second(n) for n in (1, 2, 3, 6, 7)]
    return ledger


def run_again(ledger: Ledger, planned_at: datetime) -> None:
    ledger.occurrences.append(Occurrence(planned_at=planned_at, message_id=0))
    ledger.messages.append(Message(pk=0, planned_at=planned_at))


def lose_a_run(ledger: Ledger) -> None:
    del ledger.occurrences[1], ledger.messages[1]


def count_too_few(ledger: Ledger) -> None:
    (skipped,) = (one for one in ledger.occurrences if one.skipped_because)
    skipped.skipped_count -= 1


def backfill_again(ledger: Ledger) -> None:
    ledger.is_backfilled = True
    run_again(ledger, second(2))


SPOILED = {
    "nothing": (lambda ledger: None, set()),
    "a run twice": (lambda ledger: run_again(ledger, second(2)), {"doubled", "made_up"}),
    "a backfilled run twice": (backfill_again, {"doubled"}),
    "a run in the pause": (lambda ledger: run_again(ledger, second(4)), {"made_up", "ran_in_the_pause"}),
    "a run between planned times": (lambda ledger: run_again(ledger, second(2.5)), {"made_up"}),
    "a lost run": (lose_a_run, {"lost"}),
    "a skipped one that is not counted": (count_too_few, {"lost"}),
    "a second message": (
        lambda ledger: ledger.messages.append(Message(pk=0, planned_at=second(2))),
        {"different"},
    ),
    "a lost message": (lambda ledger: ledger.messages.pop(), {"different"}),
    "a message of another time": (
        lambda ledger: setattr(ledger.messages[1], "planned_at", second(2.5)),
        {"different"},
    ),
    "a broken row": (lambda ledger: setattr(ledger.job, "problem", "It cannot be read."), {"broken"}),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_whatever_is_spoiled_is_found(ledger, spoiled):
    spoil, found = SPOILED[spoiled]
    spoil(ledger)
    assert complaints(ledger).keys() == found


TORN = """
import os, signal
from unittest import mock
from django.db import connection
from django_letsgo_worker import schedules
from django_letsgo_worker.schedules import attending

real = attending._write

def move_and_die(*args):
    real(*args)
    connection.connection.commit()
    os.kill(os.getpid(), signal.SIGKILL)

with mock.patch.object(attending, "_write", move_and_die):
    schedules.fire_due()
"""


def test_where_a_row_is_moved_in_a_transaction_of_its_own_a_kill_loses_its_planned_time(manage):
    now = clock() - timedelta(seconds=5)
    job = schedules.add("row 0", EVERY, "tick", misfire_grace=timedelta(hours=1), now=now)

    assert manage("shell", "-c", TORN).wait() == -signal.SIGKILL

    schedules.fire_due()
    (ledger,) = read_ledgers(now)
    assert complaints(ledger)["lost"][0] == job.next_run_at

"""Maintenance: once a minute one process prunes, expires, resumes, forgets and looks, a batch at a time.

A compare-and-set on one row decides which process does it; the work itself is in the verbs that are called.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, Q, QuerySet

from . import counts, failures, messages, processes, queues, schedules
from .engines import engine_for
from .inspection import Snapshot, tell_problems
from .models import Housekeeping, Message, PausedType, Queue, ScheduledJob

EVERY = 60.0
# How often a process that nobody tells of bulk operations looks for them, in seconds.
LOOK_EVERY = 5.0
# Chores that count in days are done every tenth turn, and in the first one of a process.
SELDOM = 10


class Maintenance:
    """The part of one process in the maintenance; step() never does more than a batch."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._pending: list[Callable[[], int]] = []
        self._asked_at = float("-inf")
        self._turns = 0
        self._looked_at = float("-inf")

    def work_off(self, *, is_told: bool) -> bool:
        """Do a batch of a bulk operation, if there is one; return whether there was.

        `is_told`: this process is told of them by expect_operation(), and looks each minute all the same.
        """
        if time.monotonic() - self._looked_at < (EVERY if is_told else LOOK_EVERY):
            return False
        self._looked_at = time.monotonic()
        if not messages.work_off_operations(using=self.using):
            return False
        self.expect_operation()
        return True

    def expect_operation(self) -> None:
        """Look for a bulk operation at the next step."""
        self._looked_at = float("-inf")

    def step(self, clock: datetime | None = None) -> bool:
        """Do one batch of what is due; return whether there is more at once.

        `clock` is what the database's clock has just shown, if the caller knows. A chore that fails raises,
        and is tried again in the next minute; the others continue.
        """
        if not self._pending:
            if time.monotonic() - self._asked_at < EVERY:
                return False
            self._asked_at = time.monotonic()
            clock = clock or engine_for(self.using).clock()
            if not self._take_turn(clock):
                return False
            self._pending = self._chores(clock)
        chore = self._pending.pop(0)
        if chore():
            self._pending.insert(0, chore)
        return bool(self._pending)

    def _take_turn(self, clock: datetime) -> bool:
        """Move the row if it is a minute old: only one process can."""
        rows = Housekeeping.objects.using(self.using)
        # A little less than the minute, so that one process alone keeps the pace. A time in the future was
        # written while the clock was ahead: waiting for it could mean hours without a turn.
        minute = timedelta(seconds=EVERY)
        is_old = Q(taken_at__lte=clock - minute + timedelta(seconds=5)) | Q(taken_at__gt=clock + minute)
        if rows.filter(is_old, pk=1).update(taken_at=clock):
            return True
        if rows.filter(pk=1).exists():
            return False
        rows.bulk_create([Housekeeping(id=1, taken_at=clock)], ignore_conflicts=True)
        return True

    def _note_depths(self, clock: datetime) -> int:
        """Write down how many messages are due, paused ones too; nothing where none is."""
        due = {(one.queue, one.type): one.count for one in Snapshot(self.using, clock).due}
        counts.note_depths(due, clock, self.using)
        return 0

    def _tell_problems(self) -> int:
        tell_problems(self.using)
        return 0

    def _chores(self, clock: datetime) -> list[Callable[[], int]]:
        using, has = self.using, self._has_work(clock)
        possible: dict[str, list[Callable[[], int]]] = {
            "messages": [
                lambda: self._note_depths(clock),
                lambda: messages.expire(now=clock, using=using),
            ],
            "statistics": [lambda: counts.forget_batch(now=clock, using=using)],
            "queues": [lambda: queues.resume_due(now=clock, using=using)],
            "types": [lambda: messages.resume_due_types(now=clock, using=using)],
            "schedules": [lambda: schedules.resume_due(clock, using=using)],
            "failing": [lambda: schedules.switch_off_failing(now=clock, using=using)],
        }
        chores: list[Callable[[], int]] = [lambda: messages.prune_batch(now=clock, using=using)]
        chores += [chore for name, some in possible.items() if has[name] for chore in some]
        self._turns += 1
        if self._turns % SELDOM == 1:
            chores += [
                lambda: messages.give_up_unknown_types(now=clock, using=using) and 0,
                lambda: processes.forget_old(now=clock, using=using),
                lambda: messages.forget_operations(now=clock, using=using),
                lambda: failures.forget_old(now=clock, using=using),
                lambda: schedules.forget_pauses(now=clock, using=using),
            ]
        chores.append(self._tell_problems)
        return chores

    def _has_work(self, clock: datetime) -> dict[str, bool]:
        """Ask which chores have anything to do, by one statement: a database that rests is left in peace."""
        rows: dict[str, QuerySet[Any]] = {
            "messages": Message.objects.all(),
            "statistics": counts.old_statistics(clock, self.using),
            "queues": Queue.objects.filter(resume_at__lte=clock),
            "types": PausedType.objects.filter(resume_at__lte=clock),
            "schedules": ScheduledJob.objects.to_resume(clock),
            "failing": schedules.died_lately(clock, self.using),
        }
        asked = {f"has_{name}": Exists(some) for name, some in rows.items()}
        found = Housekeeping.objects.using(self.using).filter(pk=1).annotate(**asked).values(*asked).first()
        return {name: found is None or found[f"has_{name}"] for name in rows}

"""Maintenance: once a minute one process prunes, expires, resumes, forgets and looks, a batch at a time.

A compare-and-set on one row decides which process does it; the work itself is in the verbs that are called.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
# Who has not pruned all that is old takes the next turn before another process can: that one would have to
# walk over what was deleted already.
GOES_ON_EVERY = 50.0
# Chores that count in days are done every tenth turn, and in the first one of a process.
SELDOM = 10
# The share of its time that a process prunes for, at most: messages and the database have the rest.
PRUNING_SHARE = 1 / 6
# How long it prunes at once, in seconds, whatever share is its due: then the batch that is begun is the last.
LONGEST_PRUNING = 0.05


class Maintenance:
    """The part of one process in the maintenance, in steps that are short.

    Chores come first, one after the other. Pruning is last and has pauses, so that however much is old,
    neither a chore nor a message waits for it.
    """

    def __init__(self, using: str) -> None:
        self.using = using
        self._pending: list[Callable[[], int]] = []
        self._pruning = messages.Pruning(using)
        self._batches: Iterator[int] | None = None
        self._prunes_at = self._pruned_at = float("-inf")
        self._asked_at = float("-inf")
        # When this process took its last turn, by the database's clock.
        self._taken_at: datetime | None = None
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
        """Do a batch of a chore that is due, or prune a little; return whether there is more at once.

        `clock` is what the database's clock has just shown, if the caller knows. A chore that fails raises,
        and is tried again in the next minute; the others continue.
        """
        if not self._pending and self._is_time_to_ask():
            self._begin(clock or engine_for(self.using).clock())
        if self._pending:
            chore = self._pending.pop(0)
            if chore():
                self._pending.insert(0, chore)
        elif not self.due_in:
            self._prune()
        return bool(self._pending) or not self.due_in

    @property
    def due_in(self) -> float:
        """In how many seconds to prune on; infinity if there is nothing to prune, as far as is known."""
        if self._batches is None:
            return float("inf")
        return max(0.0, self._prunes_at - time.monotonic())

    def _is_time_to_ask(self) -> bool:
        every = EVERY if self._batches is None else GOES_ON_EVERY
        return time.monotonic() - self._asked_at >= every

    def _begin(self, clock: datetime) -> None:
        """Begin a turn if no other process has it; the process that has it goes on pruning."""
        self._asked_at = time.monotonic()
        if not self._take_turn(clock):
            self._batches = None
            return
        self._pending = self._chores(clock)
        if self._batches is None:
            if self._turns % SELDOM == 1:
                self._pruning = messages.Pruning(self.using)
            self._batches = self._pruning.batches(now=clock)
            self._pruned_at = self._asked_at

    def _prune(self) -> None:
        """Delete for this process's share of the time since it last did; then leave it for as long."""
        assert self._batches is not None
        began = time.monotonic()
        enough = min((began - self._pruned_at) * PRUNING_SHARE, LONGEST_PRUNING)
        while (deleted := next(self._batches, None)) is not None and time.monotonic() - began < enough:
            pass
        self._pruned_at = now = time.monotonic()
        self._prunes_at = now + (now - began) * (1 / PRUNING_SHARE - 1)
        if deleted is None:
            self._batches = None

    def _take_turn(self, clock: datetime) -> bool:
        """Move the row if it is a minute old or our own: only one process can."""
        rows = Housekeeping.objects.using(self.using)
        # A little less than the minute, so that one process alone keeps the pace. A time in the future was
        # written while the clock was ahead: waiting for it could mean hours without a turn.
        minute = timedelta(seconds=EVERY)
        is_old = Q(taken_at__lte=clock - minute + timedelta(seconds=5)) | Q(taken_at__gt=clock + minute)
        is_ours = Q(taken_at=self._taken_at)
        if not rows.filter(is_old | is_ours, pk=1).update(taken_at=clock):
            if rows.filter(pk=1).exists():
                return False
            rows.bulk_create([Housekeeping(id=1, taken_at=clock)], ignore_conflicts=True)
        self._taken_at = clock
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
        chores = [chore for name, some in possible.items() if has[name] for chore in some]
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

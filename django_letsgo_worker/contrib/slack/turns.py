"""The right to send, one handler at a time among the threads of all workers.

Threads of a process wait for a lock, processes for a row that they ask again and again; a handler that waits
too long comes back later. What is sent is not known here.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import Error
from django.db.models import QuerySet

from ...conf import settings
from ...engines import engine_for
from ...outcomes import Snooze
from .models import SlackTurn

logger = logging.getLogger("django_letsgo_worker.slack")

# Longer than any request takes. When a worker is killed while it sends, nobody sends for this long.
LEASE_SECONDS = 60.0
# How long one handler waits for its turn, and how often it asks about other processes.
PATIENCE_SECONDS = 5.0
ASK_SECONDS = 0.1
# A waiting handler holds a seat that other work may need: the seconds of waiting that a process has, and how
# many it gets back per second.
MOST_WAITING, WAITING_PER_SECOND = 40.0, 0.5
COME_BACK = (5.0, 15.0)


class Budget:
    """The seconds that the handlers of this process may still spend waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = MOST_WAITING
        self._at = time.monotonic()

    def patience(self) -> float:
        """Return how long a handler may wait now."""
        with self._lock:
            now = time.monotonic()
            self._left = min(MOST_WAITING, self._left + (now - self._at) * WAITING_PER_SECOND)
            self._at = now
            return max(0.0, min(PATIENCE_SECONDS, self._left))

    def spend(self, seconds: float) -> None:
        with self._lock:
            self._left -= seconds


_budget = Budget()
# Only one thread of a process asks the row, or sends.
_door = threading.Lock()


class Turn:
    """The right to send, until `with my_turn()` ends; `pause` keeps everybody away for longer."""

    def __init__(self, holder: UUID) -> None:
        self.holder = holder
        self.pause_seconds = 0.0

    def pause(self, seconds: float) -> None:
        """Let nobody send for this many seconds from the end of this turn."""
        self.pause_seconds = seconds


@contextmanager
def my_turn() -> Iterator[Turn]:
    """Wait until no other handler sends; Snooze when that takes too long, or while Slack wants a pause."""
    began = time.monotonic()
    patience = _budget.patience()
    got_in = _door.acquire(timeout=patience)
    try:
        turn = _take(began + patience) if got_in else None
        _budget.spend(time.monotonic() - began)
        if turn is None:
            raise Snooze(random.uniform(*COME_BACK))
        try:
            yield turn
        finally:
            _give_back(turn)
    finally:
        if got_in:
            _door.release()


def _take(give_up: float) -> Turn | None:
    """Return the turn, or None when another process still has it at `give_up`."""
    holder = uuid4()
    while not _compare_and_set(holder):
        row = _rows().filter(pk=SlackTurn.ONLY).first()
        if row is not None and row.holder is None:
            left = (row.free_at - _clock()).total_seconds()
            if left > 0:
                # A little spread, so that not all who wait come back in the same instant.
                raise Snooze(left + random.uniform(0.0, 1.0))
            continue
        if row is None:
            _rows().bulk_create([SlackTurn(id=SlackTurn.ONLY, free_at=_clock())], ignore_conflicts=True)
        elif time.monotonic() >= give_up:
            return None
        else:
            time.sleep(ASK_SECONDS)
    return Turn(holder)


def _compare_and_set(holder: UUID) -> bool:
    """Take the row if it is free: however many try, the database lets one."""
    clock = _clock()
    free = _rows().filter(pk=SlackTurn.ONLY, free_at__lte=clock)
    return bool(free.update(holder=holder, free_at=clock + timedelta(seconds=LEASE_SECONDS)))


def _give_back(turn: Turn) -> None:
    """Free the row, unless the turn lapsed and another handler has it."""
    try:
        free_at = _clock() + timedelta(seconds=turn.pause_seconds)
        _rows().filter(pk=SlackTurn.ONLY, holder=turn.holder).update(holder=None, free_at=free_at)
    except Error as error:
        # What was sent is sent: to fail now would send it again. The turn ends by itself.
        logger.warning("The turn to send to Slack could not be given back (%s).", type(error).__name__)


def _rows() -> QuerySet[SlackTurn]:
    return SlackTurn.objects.using(settings().database)


def _clock() -> datetime:
    return engine_for(settings().database).clock()

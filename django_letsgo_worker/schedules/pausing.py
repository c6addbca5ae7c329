"""One switch for all schedules: pause and resume them, and when they were paused.

The only writer of SchedulesPause. The switch of each row is in operations; firing asks here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import IntegrityError
from django.db.models import Q, QuerySet

from ..conf import settings
from ..engines import engine_for
from ..errors import InvalidSchedule
from ..models import SchedulesPause
from ..validation import check_moment
from .operations import alias_for, check_text

logger = logging.getLogger("django_letsgo_worker.schedules")

# A scheduler that was away for so long learns what was paused meanwhile, however little is kept.
LEAST_KEPT = timedelta(days=1)
# Each further one takes another process that pauses, and one that resumes, at the same moment.
MOST_TRIES = 10


def pause_all(
    by: str = "",
    reason: str = "",
    until: datetime | None = None,
    *,
    using: str | None = None,
    now: datetime | None = None,
) -> SchedulesPause:
    """Let no schedule run until resume_all() or `until`; what is planned meanwhile is not made up for.

    The switch of each schedule stays as it is, and each can still be run by hand. `by` (at most 150
    characters) and `reason` (255) say who does it and why; `until` is an aware datetime, None is until it is
    resumed by hand. While all are paused already these three are replaced, and the pause keeps its beginning.
    `using` is the alias of the database, and `now` an aware datetime that stands in for its clock. Raises
    InvalidSchedule for an `until` that is past and for text that is too long, InvalidMessage for no aware
    datetime.
    """
    alias = alias_for("pause_all", using)
    clock = now or engine_for(alias).clock()
    check_text("by", by, 150)
    check_text("reason", reason, 255)
    if until is not None and check_moment("until", until) <= clock:
        raise InvalidSchedule(f"until is past: {until.isoformat()}.", field="until")
    pause = _pause(alias, clock, {"paused_by": by, "pause_reason": reason, "resume_at": until})
    end = f" until {until.isoformat()}" if until else ""
    logger.info("All schedules were paused%s%s.", f" by {by}" if by else "", end)
    return pause


def _pause(using: str, clock: datetime, facts: dict[str, Any]) -> SchedulesPause:
    for _try in range(MOST_TRIES - 1):
        # Where another process began one at the same moment, that is the present one now.
        with suppress(IntegrityError):
            return _replace_or_begin(using, clock, facts)
    return _replace_or_begin(using, clock, facts)


def _replace_or_begin(using: str, clock: datetime, facts: dict[str, Any]) -> SchedulesPause:
    """Write who, why and until when into the present pause, or begin one."""
    with engine_for(using).transaction():
        pause = _locked_newest(using)
        is_new = pause is None or pause.is_over(clock)
        if pause is None or is_new:
            # Of two that begin one at once, both with the next number, the database refuses one.
            pause = SchedulesPause(id=1 if pause is None else pause.pk + 1, paused_at=clock)
        for column, value in facts.items():
            setattr(pause, column, value)
        pause.save(using=using, force_insert=is_new)
    return pause


def _locked_newest(using: str) -> SchedulesPause | None:
    rows = _rows(using)
    if not engine_for(using).skip_locked:
        # Where rows have no locks, a write takes the turn: a read that becomes a write fails at once when
        # another process wrote in between.
        rows.filter(pk=0).update(paused_by="")
    return rows.select_for_update().order_by("-pk").first()


def resume_all(by: str = "", *, using: str | None = None, now: datetime | None = None) -> bool:
    """Let the schedules run again, from now on; return whether they were paused.

    `by` says who does it, in at most 150 characters. `using` and `now` are pause_all()'s. Raises
    InvalidSchedule for a `by` that is no such text.
    """
    alias = alias_for("resume_all", using)
    clock = now or engine_for(alias).clock()
    check_text("by", by, 150)
    pause = present_pause(alias, clock)
    if pause is None:
        return False
    # Of two that resume at once, one finds it without an end.
    if not _rows(alias).filter(pk=pause.pk, resumed_at__isnull=True).update(resumed_at=clock, resumed_by=by):
        return False
    logger.info("All schedules were resumed%s.", f" by {by}" if by else "")
    return True


# -- questions -----------------------------------------------------------------------------------------------


def newest_pause(using: str) -> SchedulesPause | None:
    """Return the last pause that began, over or not: the only one that can be the present one."""
    return _rows(using).order_by("-pk").first()


def present_pause(using: str, now: datetime) -> SchedulesPause | None:
    """Return the pause that all schedules are in at the moment `now`, if there is one."""
    pause = newest_pause(using)
    return None if pause is None or pause.is_over(now) else pause


class Pauses(NamedTuple):
    """The pauses of all schedules at one moment, as far as they are kept."""

    # When each that is over began and ended, in order; those that overlap or touch are one.
    past: list[tuple[datetime, datetime]]
    is_paused: bool


def pauses_at(now: datetime, using: str) -> Pauses:
    """Return what was paused until the moment `now`, and whether all is.

    One statement reads both. Of two, the first would find a pause not over yet and the second find it
    resumed: as if it had never been.
    """
    # They are few: one for each time that somebody paused all, since the oldest occurrence that is kept.
    pauses = list(_rows(using).order_by("paused_at", "pk"))
    is_paused = bool(pauses) and not max(pauses, key=lambda pause: pause.pk).is_over(now)
    return Pauses(_spans([pause for pause in pauses if pause.is_over(now)]), is_paused)


def _spans(pauses: Sequence[SchedulesPause]) -> list[tuple[datetime, datetime]]:
    spans: list[tuple[datetime, datetime]] = []
    for pause in pauses:
        begin, end = pause.paused_at, pause.ended_at
        if begin is None or end is None or end <= begin:
            # The clock went back meanwhile: nothing was planned in between.
            continue
        if spans and begin <= spans[-1][1]:
            begin, last = spans.pop()
            end = max(end, last)
        spans.append((begin, end))
    return spans


def forget_pauses(*, now: datetime | None = None, using: str) -> int:
    """Delete pauses that ended before the occurrences that are kept, never the newest; return how many."""
    clock = now or engine_for(using).clock()
    before = clock - max(timedelta(days=settings().keep_occurrences_for), LEAST_KEPT)
    newest = newest_pause(using)
    if newest is None:
        return 0
    by_hand = Q(resumed_at__lt=before)
    by_itself = Q(resumed_at__isnull=True, resume_at__lt=before)
    return _rows(using).filter(by_hand | by_itself, pk__lt=newest.pk).delete()[0]


def _rows(using: str) -> QuerySet[SchedulesPause]:
    return SchedulesPause.objects.using(using)

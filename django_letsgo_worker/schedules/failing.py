"""pause_after_failures: a schedule whose last runs are dead is switched off, with that reason."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db.models import QuerySet

from .. import planning
from ..engines import engine_for
from ..models import DeadLetter, Message, Occurrence, ScheduledJob
from .changes import Change, Round
from .locking import alias_of, lock

logger = logging.getLogger("django_letsgo_worker.schedules")

# Runs that live are passed over; of so many more than count.
LOOKED_PAST = 100
# Schedules with a run that died within this time are checked once a minute.
LATELY = timedelta(minutes=5)
LINE = "Schedule %r was switched off: %s."


def reason(change: Change, round: Round) -> str:
    """Switch off a schedule whose last runs are dead, and return why it does not run; "" if it does."""
    job = change.job
    if job.pause_after_failures is None:
        return ""
    if job.enabled and _is_failing(job, round.using):
        _switch_off(change, round.clock)
    return "" if job.enabled else f"edit: {job.switch_reason}"


def switch_off_failing(*, now: datetime | None = None, using: str | None = None) -> int:
    """Switch off the schedules that are to be after their last runs died; return how many.

    A scheduler does so itself before the next run; this is for those who look at the list before that.
    """
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    died = died_lately(clock, alias).values_list("scheduled_job_id", flat=True).distinct()
    ids = {job_id for job_id in died if job_id is not None}
    rows = ScheduledJob.objects.using(alias).filter(enabled=True, pause_after_failures__isnull=False)
    done = 0
    for pk in list(rows.filter(pk__in=ids).values_list("pk", flat=True)) if ids else ():
        with engine_for(alias).transaction():
            job = lock(alias, pk=pk)
            if job is not None and job.enabled and job.pause_after_failures and _is_failing(job, alias):
                job.enabled, job.resume_at = False, None
                job.switched_at, job.switched_by, job.switch_reason = clock, "", _sentence(job)
                job.save(using=alias, now=clock)
                _log(job)
                done += 1
    return done


def died_lately(clock: datetime, using: str) -> QuerySet[DeadLetter]:
    """Return the runs of schedules that died in the last minutes."""
    dead = DeadLetter.objects.using(using)
    return dead.filter(finished_at__gt=clock - LATELY, scheduled_job_id__isnull=False)


def _switch_off(change: Change, clock: datetime) -> None:
    job = change.job
    change.set(
        enabled=False,
        next_run_at=None,
        next_planned_at=None,
        resume_at=None,
        switched_at=clock,
        switched_by="",
        switch_reason=_sentence(job),
    )
    change.set(planned_from=planning.planned_text(job, None))
    change.say(logging.WARNING, LINE, job.switch_reason)


def _is_failing(job: ScheduledJob, using: str) -> bool:
    """Whether the last runs that have ended, as many as it takes, are all dead; since it was switched on."""
    wanted = job.pause_after_failures or 0
    runs = Occurrence.objects.using(using).filter(scheduled_job=job, message_id__isnull=False)
    if job.switched_at is not None:
        runs = runs.filter(fired_at__gt=job.switched_at)
    newest = list(runs.order_by("-planned_at").values_list("message_id", flat=True)[: wanted + LOOKED_PAST])
    living = set(Message.objects.using(using).filter(scheduled_job_id=job.pk).values_list("pk", flat=True))
    ended = [id for id in newest if id is not None and id not in living][:wanted]
    if len(ended) < wanted:
        return False
    # One that is not in the archive has succeeded, or was discarded: a dead letter is kept for longer.
    dead = DeadLetter.objects.using(using).filter(pk__in=ended)
    return dead.count() == wanted


def _sentence(job: ScheduledJob) -> str:
    count = job.pause_after_failures
    return "its last run is dead" if count == 1 else f"its last {count} runs are dead"


def _log(job: ScheduledJob) -> None:
    logger.warning(LINE, job.name, job.switch_reason, extra={"schedule": job.name})

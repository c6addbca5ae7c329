"""Verbs for people on scheduled jobs: add, update, ensure, restore, remove, switch, run now.

Each changes one row, or refuses with one sentence and changes nothing; firing is not done here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from django.apps import apps
from django.db import Error, IntegrityError
from django.db.models import CharField

from .. import declarations, messages, planning
from ..engines import engine_for
from ..errors import AppsNotReady, InvalidSchedule, ScheduleNotFound
from ..hints import no_option
from ..models import Message, ScheduledJob
from ..validation import check_moment, encode, private, show
from .locking import alias_of, lock
from .occurrences import row_of

logger = logging.getLogger("django_letsgo_worker.schedules")

DECLARED = "Schedule {!r} is declared in code, which would change it back."
DECIDED = ScheduledJob.decided_columns()


@private(Error, TypeError)
def add(
    name: str, schedule: str, type: Any, payload: Any = None, *, args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None, using: str | None = None, now: datetime | None = None,
    **fields: Unpack[planning.AddedFields],
) -> ScheduledJob:  # fmt: skip
    """Add a schedule and plan its first run.

    `name` is unique text of 1 to 200 characters; `schedule` an expression such as rate(5 minutes), @daily or
    30 2 * * MON-FRI, on the clock of `timezone` (an IANA name, UTC by default); `type` and `payload` are its
    messages'. `type` may be a task or a handler's function, too, and a task has `args` and `kwargs` instead
    of a payload. `using` is a database alias, `now` an aware datetime that stands in for its clock.

    Of the further `fields`, `queue`, `priority` (-100 to 100, larger is sooner) and `max_attempts` (1 to
    32,000) are the messages' too; None is what the type's handler says at each run. `deadline` is a timedelta
    or seconds, counted from the planned time and its spread: later no attempt starts. `enabled`: it is on.

    `starts_at` and `ends_at` are aware datetimes, both inclusive; on the days of `except_on` (text such as
    12-24..01-02, holidays) nothing runs; after `max_runs` runs it is over, and once over, `delete_when_over`
    deletes it. `spread` delays each run by a part of so many minutes, 0 to 1440: always the same for one.
    Of runs noticed later than `misfire_grace` (a timedelta or seconds, 60 s), `misfire` runs the newest
    (once, the default), none (skip) or the newest 100 (all). While a message of it is unfinished, `overlap`
    lets a run come all the same (allow, the default), not at all (skip), after its end (queue, one at most
    waits), or cancels that first (replace). `pause_after_failures` dead runs in a row switch it off.

    Raises InvalidSchedule or InvalidMessage, one sentence each, for what is wrong; then nothing is saved.
    """
    if unknown := [field for field in fields if field not in planning.FIELDS]:
        raise TypeError(no_option("A schedule", unknown, ("name", *planning.FIELDS)))
    alias = alias_for("add", using)
    job = ScheduledJob(name=name)
    clock = now or engine_for(alias).clock()
    given = {"schedule": schedule, "type": type, "payload": payload, "args": args, "kwargs": kwargs}
    _set(job, _as_columns({**given, **fields}), clock)
    _insert(job, alias, clock)
    return job


def _insert(job: ScheduledJob, using: str, clock: datetime) -> None:
    taken = InvalidSchedule(f"A schedule named {job.name!r} exists already.", field="name")
    rows = ScheduledJob.objects.using(using).filter(name=job.name)
    if rows.exists():
        raise taken
    try:
        with engine_for(using).transaction():
            job.save(using=using, force_insert=True, now=clock)
    except IntegrityError:
        if not rows.exists():
            raise
        raise taken from None
    _log("Schedule %r was added; its next run: %s.", job, job.next_run_at)


@private(Error)
def update(
    name: str, *, using: str | None = None, now: datetime | None = None, **fields: Any
) -> ScheduledJob:
    """Change fields of the schedule `name`, all of them or none, and plan it again where they bear on that.

    `fields` are any of add()'s; None for misfire_grace is 60 s. An edit of the expression counts from `now`,
    by default the clock of the database `using`. Raises ScheduleNotFound, InvalidSchedule or
    InvalidMessage.
    """
    fields = _as_columns(fields)
    _check_names(fields)
    alias = alias_for("update", using)
    clock = now or engine_for(alias).clock()
    with engine_for(alias).transaction():
        job = _locked(name, alias)
        _set(job, fields, clock)
        job.save(using=alias, now=clock)
    _log("Schedule %r was changed; its next run: %s.", job, job.next_run_at)
    return job


@private(Error)
def ensure(
    name: str,
    schedule: str | None = None,
    type: Any = None,
    *,
    using: str | None = None,
    now: datetime | None = None,
    **fields: Any,
) -> ScheduledJob:
    """Make the schedule `name` be as the fields say: add it, or change what differs; else write nothing.

    `schedule`, `type` and `fields` are those of add(), and what is not given stays as it is. `enabled` counts
    only where the schedule is added: whether it is on is for people to say. `now` and `using` are add()'s.
    Raises InvalidSchedule, for one that the code declares too, or InvalidMessage.
    """
    alias = alias_for("ensure", using)
    given = {"schedule": schedule, "type": type}
    wanted = {**{field: value for field, value in given.items() if value is not None}, **fields}
    wanted = _as_columns(wanted)
    _check_names(wanted)
    job = _row(name, alias) or _add_or_find(name, wanted, alias, now)
    wanted.pop("enabled", None)
    _put(job, wanted)
    if not job._changed(wanted):
        return job
    if job.declared_in_code:
        raise InvalidSchedule(DECLARED.format(name))
    return update(name, using=alias, now=now, **wanted)


def _add_or_find(name: str, fields: dict[str, Any], using: str, now: datetime | None) -> ScheduledJob:
    for needed in ("schedule", "type"):
        if needed not in fields:
            raise InvalidSchedule(
                f"There is no schedule named {name!r}: to add it, give its {needed}.", field=needed
            )
    try:
        return add(name, using=using, now=now, **fields)
    except InvalidSchedule as error:
        # Another process may have been first.
        job = _row(name, using) if error.field == "name" else None
        if job is None:
            raise
        return job


def restore(
    name: str, *, by: str = "", using: str | None = None, now: datetime | None = None, **columns: Any
) -> tuple[ScheduledJob, str]:
    """Bring in a schedule that was exported, here or elsewhere; return it, and what was done.

    That is "added", "changed" or "unchanged". `columns` are any of DECIDED, so that the switch, who used it
    and why, and the grid of a rate are what they were; a next_run_at in the past is ignored, and an at() in
    the past is over. If the schedule exists and has `declared_in_code`, only the switch counts. Raises
    InvalidSchedule or InvalidMessage.
    """
    alias = alias_for("restore", using)
    clock = now or engine_for(alias).clock()
    is_declared = columns.pop("declared_in_code", False)
    with engine_for(alias).transaction():
        found = _row(name, alias)
        job = ScheduledJob(name=name) if found is None else _locked(name, alias)
        if found is not None and is_declared:
            columns = {
                column: columns[column] for column in ("enabled", *ScheduledJob.SWITCH) if column in columns
            }
        if columns.get("next_run_at") is None or columns["next_run_at"] <= clock:
            columns.pop("next_run_at", None)
        if columns.get("anchor") is None:
            # No scheduler had planned it yet.
            columns.pop("anchor", None)
        _put(job, columns)
        if found is not None and not job._changed(columns):
            return job, "unchanged"
        if job.declared_in_code and not is_declared:
            raise InvalidSchedule(DECLARED.format(name))
        _restore(job, columns, by)
        _check(job, clock)
        if found is None:
            job.declared_in_code = bool(is_declared)
            _insert(job, alias, clock)
            return job, "added"
        job.save(using=alias, now=clock)
    _log("Schedule %r was changed; its next run: %s.", job, job.next_run_at)
    return job, "changed"


def _restore(job: ScheduledJob, columns: dict[str, Any], by: str) -> None:
    for field in ScheduledJob._meta.concrete_fields:
        if field.name in columns and field.name not in planning.FIELDS and isinstance(field, CharField):
            check_text(field.name, columns[field.name], field.max_length or 0)
    job.may_be_over = True
    if job._changed(["enabled"]) and "switched_by" not in columns:
        job.switched_by = by
    if "anchor" in columns and job._changed(["anchor"]):
        # It is planned again then: the next run stands on another grid.
        job.planned_from = ""
    # Nulls count, too: they are what the row was elsewhere.
    job._decide([column for column in ("anchor", *ScheduledJob.SWITCH) if column in columns])


def remove(name: str, *, using: str | None = None) -> None:
    """Delete the schedule `name` and its occurrences; messages that it made stay.

    `using` is a database alias, the setting DATABASE if None. Raises ScheduleNotFound.
    """
    alias = alias_for("remove", using)
    with engine_for(alias).transaction():
        job = _locked(name, alias)
        job.delete(using=alias)
    _log("Schedule %r was removed.", job)


def enable(name: str, *, by: str = "", using: str | None = None, now: datetime | None = None) -> ScheduledJob:
    """Switch the schedule `name` on, planned from now: runs that it missed meanwhile are not made up.

    `by` says who does it, in at most 150 characters. `now` and `using` are add()'s. One that is on already
    stays as it is. Raises ScheduleNotFound, or InvalidSchedule for a row that was edited into nonsense.
    """
    alias = alias_for("enable", using)
    clock = now or engine_for(alias).clock()
    check_text("by", by, 150)
    with engine_for(alias).transaction():
        job = _locked(name, alias)
        if job.enabled:
            return job
        job.enabled, job.next_run_at, job.resume_at = True, None, None
        job.switched_at, job.switched_by, job.switch_reason = clock, by, ""
        job.save(using=alias, now=clock)
    _log("Schedule %r was switched on%s.", job, f" by {by}" if by else "")
    return job


def disable(
    name: str,
    *,
    by: str = "",
    reason: str = "",
    resume_at: datetime | None = None,
    using: str | None = None,
    now: datetime | None = None,
) -> ScheduledJob:
    """Switch the schedule `name` off; no run is planned and no backlog builds.

    `by` (at most 150 characters) and `reason` (255) say who does it and why; it is switched on again at
    `resume_at`, an aware datetime, or by hand if that is None. `now` and `using` are add()'s. For one that is
    off already these three are replaced. Raises ScheduleNotFound, or InvalidSchedule for a resume_at that is
    past.
    """
    alias = alias_for("disable", using)
    clock = now or engine_for(alias).clock()
    check_text("by", by, 150)
    check_text("reason", reason, 255)
    if resume_at is not None and check_moment("resume_at", resume_at) <= clock:
        raise InvalidSchedule(f"resume_at is past: {resume_at.isoformat()}.", field="resume_at")
    with engine_for(alias).transaction():
        job = _locked(name, alias)
        job.enabled, job.resume_at = False, resume_at
        job.switched_at, job.switched_by, job.switch_reason = clock, by, reason
        job.save(using=alias, now=clock)
    _log("Schedule %r was switched off%s.", job, f" by {by}" if by else "")
    return job


def run_now(name: str, *, by: str = "", using: str | None = None, now: datetime | None = None) -> Message:
    """Enqueue the message of the schedule `name` at once, whether it is on or off, and return it.

    It is not a planned occurrence: the plan stays, no Occurrence is recorded, overlap and spread do not
    apply. The message names the schedule and has this moment as its planned time; `last_run_at` and the
    log say that it ran, the log also who asked (`by`, text). `now` and `using` are add()'s. Raises
    ScheduleNotFound, or InvalidMessage if the row cannot become a message.
    """
    alias = alias_for("run_now", using)
    clock = now or engine_for(alias).clock()
    job = find(name, using=alias)
    with engine_for(alias).transaction():
        (message,) = messages.enqueue_occurrences([row_of(job, clock, clock, None)], alias, now)
        ScheduledJob.objects.using(alias).filter(pk=job.pk).update(last_run_at=clock)
    _log("Schedule %r was run by hand%s: message %s.", job, f" by {by}" if by else "", message.pk)
    return message


def find(name: str, *, using: str | None = None) -> ScheduledJob:
    """Return the schedule `name`, from the database `using`; ScheduleNotFound when there is none."""
    alias = alias_for("find", using)
    rows = ScheduledJob.objects.using(alias).filter(name=_sought(name))
    job = rows.first()
    if job is None:
        raise ScheduleNotFound(name)
    return job


def _locked(name: str, using: str) -> ScheduledJob:
    job = lock(using, name=_sought(name))
    if job is None:
        raise ScheduleNotFound(name)
    return job


def _sought(name: str) -> str:
    # Some databases refuse to be asked for a name that no schedule can have.
    if not isinstance(name, str) or not name.isprintable():
        raise ScheduleNotFound(name)
    return name


def alias_for(verb: str, using: str | None) -> str:
    """Return the alias that a verb is for; AppsNotReady while Django loads the apps."""
    if not apps.ready:
        raise AppsNotReady(verb)
    return alias_of(using)


def _row(name: Any, using: str) -> ScheduledJob | None:
    try:
        return find(name, using=using)
    except ScheduleNotFound:
        return None


def _check_names(fields: dict[str, Any]) -> None:
    for field in fields:
        if field not in planning.FIELDS:
            raise InvalidSchedule(no_option("A schedule", [field], planning.FIELDS), field=field)


def _as_columns(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields with the type and the payload of a task in the place of the task and its arguments."""
    columns = {**fields}
    args, kwargs = columns.pop("args", None), columns.pop("kwargs", None)
    if args is not None or kwargs is not None:
        columns["payload"] = declarations.payload_of(columns.get("payload"), args, kwargs)
    if callable(columns.get("type")) or hasattr(columns.get("type"), "func"):
        columns["type"] = declarations.type_of(columns["type"])
    return columns


def _set(job: ScheduledJob, fields: dict[str, Any], clock: datetime) -> None:
    """Put values into a row in memory, or refuse the first that is wrong."""
    _put(job, fields)
    _check(job, clock)


def _put(job: ScheduledJob, fields: dict[str, Any]) -> None:
    """Put values into a row in memory; lengths of time may be seconds."""
    for column, value in planning.as_columns(fields).items():
        setattr(job, column, value)


def _check(job: ScheduledJob, clock: datetime) -> None:
    """Refuse the first value that is wrong."""
    if not isinstance(job.enabled, bool):
        raise InvalidSchedule(f"enabled is True or False, not {show(job.enabled)}.", field="enabled")
    for _field, refusal in planning.refusals(job, clock):
        raise refusal


def check_text(field: str, value: Any, longest: int) -> None:
    """Refuse what is no text, what no database keeps, or what is longer than its column."""
    if not isinstance(value, str):
        raise InvalidSchedule(f"{field} is text, not {show(value)}.", field=field)
    encode(field, value, None)
    if len(value) > longest:
        raise InvalidSchedule(f"{field} is longer than {longest} characters.", field=field)


def _log(line: str, job: ScheduledJob, *more: object) -> None:
    logger.info(line, job.name, *more, extra={"schedule": job.name})

"""Schedules and what became of each of their planned times.

A row here plans itself when it is saved; what fires, and what is skipped, is decided in schedules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, Self

from django.core.exceptions import ValidationError
from django.db import models, router
from django.db.models.expressions import DatabaseDefault
from django.utils.translation import gettext_lazy as _

from .. import planning
from ..recurrence import Exclusions, Recurrence
from ..validation import counted
from .clock import Clock, database_clock
from .fields import BytewiseCharField, ExactJSONField, JSONText, MomentField
from .planned import LookAtIndex, NeedsALook
from .saving import Rows, WrittenWhereChanged

# The columns that the plan follows from, and those that schedulers write. A save() writes the latter only
# where it changed them itself: an instance that was read before a round must not undo the round.
PLANNED_BY = frozenset({"schedule", "timezone", "starts_at", "ends_at", "enabled", "next_run_at", "max_runs"})
PLAN = ("anchor", "next_run_at", "next_planned_at", "planned_from", "problem", "version")
KEPT_BY_SCHEDULERS = (*PLAN, "unsettled", "last_run_at", "runs", "waiting_message_id", "waiting_behind")
SWITCH = ("switched_at", "switched_by", "switch_reason", "resume_at")
EXPRESSION = ("schedule", "timezone")

# Rules that hold for raw edits too; planning checks what a database cannot.
CONSTRAINTS: list[models.BaseConstraint] = [
    models.CheckConstraint(condition=models.Q(spread__lte=24 * 60), name="letsgo_schedule_spread"),
    models.CheckConstraint(
        condition=models.Q(priority__isnull=True) | models.Q(priority__range=(-100, 100)),
        name="letsgo_schedule_priority",
    ),
    models.CheckConstraint(
        condition=models.Q(max_attempts__isnull=True) | models.Q(max_attempts__gte=1),
        name="letsgo_schedule_attempts",
    ),
    models.CheckConstraint(
        condition=models.Q(ends_at__isnull=True)
        | models.Q(starts_at__isnull=True)
        | models.Q(ends_at__gte=models.F("starts_at")),
        name="letsgo_schedule_bounds",
    ),
    models.CheckConstraint(
        condition=models.Q(misfire__in=("once", "skip", "all")), name="letsgo_schedule_misfire"
    ),
    models.CheckConstraint(
        condition=models.Q(overlap__in=("allow", "skip", "queue", "replace")), name="letsgo_schedule_overlaps"
    ),
    models.CheckConstraint(
        condition=models.Q(max_runs__isnull=True) | models.Q(max_runs__gte=1), name="letsgo_schedule_max_runs"
    ),
    models.CheckConstraint(
        condition=models.Q(pause_after_failures__isnull=True) | models.Q(pause_after_failures__gte=1),
        name="letsgo_schedule_failures",
    ),
    models.CheckConstraint(condition=models.Q(misfire_grace__gte=timedelta(0)), name="letsgo_schedule_grace"),
    models.CheckConstraint(
        condition=models.Q(deadline__isnull=True) | models.Q(deadline__gt=timedelta(0)),
        name="letsgo_schedule_deadline",
    ),
]


class ScheduledJobs(Rows["ScheduledJob"]):
    """Schedules, as schedulers look for them."""

    def due(self, now: datetime) -> Self:
        """Return the rows whose next run has come."""
        return self.filter(enabled=True, next_run_at__lte=now)

    def to_resume(self, now: datetime) -> Self:
        """Return the rows that were switched off until now."""
        return self.needing_a_look(now).filter(enabled=False, resume_at__lte=now)

    def needing_a_look(self, now: datetime) -> Self:
        """Return the rows to be resumed, edited since they were planned, or with something to settle."""
        return self.filter(NeedsALook(models.Value(now, output_field=MomentField())))


class ScheduledJob(WrittenWhereChanged):
    """A type and payload to enqueue, and the recurrence by which to do so.

    save() plans the next run, as objects.create() does; raw update()s are noticed by the schedulers. Name,
    expression and type are all that an INSERT must say; a scheduler plans such a row when it looks.
    """

    class Misfire(models.TextChoices):
        ONCE = "once", _("run the newest missed one")
        SKIP = "skip", _("run none of them")
        ALL = "all", _("run each, up to a hundred")

    class Overlap(models.TextChoices):
        ALLOW = "allow", _("run all the same")
        SKIP = "skip", _("skip while an earlier one is unfinished")
        QUEUE = "queue", _("wait for the earlier one; one at most waits")
        REPLACE = "replace", _("cancel the earlier one, and start when that has ended")

    name = BytewiseCharField(_("name"), max_length=200, unique=True)
    schedule = models.CharField(_("schedule"), max_length=256)
    timezone = models.CharField(_("time zone"), max_length=64, default="UTC", db_default="UTC")
    type = BytewiseCharField(_("type"), max_length=255)
    payload = ExactJSONField(_("payload"), default=None, db_default=JSONText("null"), blank=True)
    queue = BytewiseCharField(_("queue"), max_length=64, null=True, blank=True)
    priority = models.SmallIntegerField(_("priority"), null=True, blank=True)
    max_attempts = models.SmallIntegerField(_("attempts allowed"), null=True, blank=True)
    deadline = models.DurationField(_("deadline"), null=True, blank=True)
    enabled = models.BooleanField(_("enabled"), default=True, db_default=True)
    starts_at = MomentField(_("starts at"), null=True, blank=True)
    ends_at = MomentField(_("ends at"), null=True, blank=True)
    misfire = models.CharField(
        _("if late"), max_length=8, choices=Misfire.choices, default=Misfire.ONCE, db_default="once"
    )
    misfire_grace = models.DurationField(
        _("late after"), default=planning.DEFAULT_GRACE, db_default=planning.DEFAULT_GRACE
    )
    overlap = models.CharField(
        _("overlap"), max_length=8, choices=Overlap.choices, default=Overlap.ALLOW, db_default="allow"
    )
    spread = models.PositiveIntegerField(_("spread"), default=0, db_default=0)
    except_on = models.TextField(_("not on"), default="", db_default="", blank=True)
    max_runs = models.PositiveIntegerField(_("runs at most"), null=True, blank=True)
    pause_after_failures = models.PositiveSmallIntegerField(
        _("switch off after failures"), null=True, blank=True
    )
    delete_when_over = models.BooleanField(_("delete when over"), default=False, db_default=False)
    anchor = MomentField(_("anchor"), null=True, blank=True, editable=False)
    next_run_at = MomentField(_("next run"), null=True, blank=True, editable=False)
    # next_run_at as it was planned: where the two differ, it was set by hand.
    next_planned_at = MomentField(_("next planned run"), null=True, blank=True, editable=False)
    planned_from = models.TextField(_("planned from"), default="", db_default="", editable=False)
    # Plans that were replaced while times of theirs were due (planning.former): the next round settles them.
    unsettled = ExactJSONField(_("unsettled"), null=True, blank=True, editable=False)
    problem = models.TextField(_("problem"), default="", db_default="", blank=True, editable=False)
    last_run_at = MomentField(_("last run"), null=True, blank=True, editable=False)
    # The planned times that became a message; `max_runs` is about them.
    runs = models.BigIntegerField(_("runs so far"), default=0, db_default=0, editable=False)
    # A message that is held back until earlier ones of this schedule have ended, and which cancelled ones may
    # still run: [id, process] each.
    waiting_message_id = models.BigIntegerField(_("waiting message"), null=True, blank=True, editable=False)
    waiting_behind = ExactJSONField(_("waiting behind"), null=True, blank=True, editable=False)
    version = models.BigIntegerField(_("version"), default=0, db_default=0, editable=False)
    declared_in_code = models.BooleanField(
        _("declared in code"), default=False, db_default=False, editable=False
    )
    switched_at = MomentField(_("switched at"), null=True, blank=True, editable=False)
    switched_by = models.CharField(
        _("switched by"), max_length=150, default="", db_default="", blank=True, editable=False
    )
    switch_reason = models.CharField(
        _("switch reason"), max_length=255, default="", db_default="", blank=True, editable=False
    )
    resume_at = MomentField(_("resume at"), null=True, blank=True)
    created_at = MomentField(_("created at"), db_default=Clock(), editable=False)
    updated_at = MomentField(_("updated at"), db_default=Clock(), editable=False)

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        indexes = [
            models.Index(fields=["next_run_at"], name="letsgo_schedule_next_run"),
            LookAtIndex(fields=["resume_at"], name="letsgo_schedule_look"),
        ]
        permissions = [
            ("run_scheduledjob", "Can run schedules now"),
            ("switch_scheduledjob", "Can switch schedules on and off"),
            ("backfill_scheduledjob", "Can backfill schedules"),
        ]
        constraints = CONSTRAINTS

    objects: ClassVar[models.Manager[ScheduledJob]] = models.Manager.from_queryset(ScheduledJobs)()

    SWITCH = SWITCH

    # Set for a row that comes from elsewhere: its at() may have run there.
    may_be_over = False

    def __str__(self) -> str:
        return self.name

    @classmethod
    def decided_columns(cls) -> tuple[str, ...]:
        """Return the columns that people decide, or may decide; all others can be worked out again."""
        found_out = {*KEPT_BY_SCHEDULERS, "id", "declared_in_code", "created_at", "updated_at"}
        found_out -= {"anchor", "next_run_at"}
        return tuple(field.name for field in cls._meta.concrete_fields if field.name not in found_out)

    # -- checking ------------------------------------------------------------------------------------

    def clean_fields(self, exclude: Iterable[str] | None = None) -> None:
        """Check each value; each error stands at its field."""
        errors: dict[str, list[Any]] = {}
        try:
            super().clean_fields(exclude=exclude)  # type: ignore[arg-type]
        except ValidationError as error:
            errors = error.update_error_dict({})
        passed_over = {*(exclude or ()), *errors}
        for field, refusal in planning.refusals(self, database_clock(self._alias())):
            if field not in passed_over:
                # Not "invalid": a form's field has its own words for that, which would be shown instead.
                errors[field] = [ValidationError(str(refusal), code="refused")]
        if errors:
            raise ValidationError(errors)

    # -- planning ------------------------------------------------------------------------------------

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Plan the next run and write the row; InvalidSchedule, and nothing written, if it can't be planned.

        A next_run_at that was set by hand is kept as the next planned time. Of an existing row only what
        was changed since it was read is written. A copy (pk = None) is a new schedule: it has the same
        rule and switch, and its own runs and plan. `now` stands in for the database's clock.
        """
        using = kwargs["using"] = kwargs.get("using") or self._alias()
        given: Sequence[str] | None = kwargs.get("update_fields")
        now = kwargs.pop("now", None) or database_clock(using)
        if self._is_new(**kwargs):
            self._begin(now)
            self._plan(now)
        elif given is None:
            self._note_switch(now)
            self._replan(now, using)
            kwargs["update_fields"] = self._columns_to_write()
        elif PLANNED_BY & set(given):
            self._note_switch(now)
            self._replan(now, using)
            kwargs["update_fields"] = {*given, *self._changed((*PLAN, "unsettled", *SWITCH)), "updated_at"}
        self.updated_at = now
        if kwargs.get("update_fields"):
            kwargs["update_fields"] = {*kwargs["update_fields"], "updated_at"}
        super().save(*args, **kwargs)

    def _alias(self) -> str:
        return self._state.db or router.db_for_write(type(self), instance=self)

    def _columns_to_write(self) -> set[str]:
        return self._changed() | {"updated_at"}

    def _begin(self, now: datetime) -> None:
        """Clear in a copy what belongs to the original alone; a row that was never read has none of that."""
        if self._read:
            alone = {*KEPT_BY_SCHEDULERS, "declared_in_code", "created_at"}
            kept = self._changed(alone)
            for field in self._meta.concrete_fields:
                if field.name in alone - kept:
                    setattr(self, field.name, field.get_default())
            self._read = {}
        if self.created_at is None or isinstance(self.created_at, DatabaseDefault):
            self.created_at = now

    def _decide(self, names: Iterable[str]) -> None:
        """Have these columns written as they are, changed here or not: the row may have others by now."""
        self._read = {name: value for name, value in self._read.items() if name not in names}

    def _note_switch(self, now: datetime) -> None:
        """Note when a row was switched by setting `enabled`, unless the caller has noted more."""
        if "enabled" in self._changed(["enabled"]) and not self._changed(["switched_at"]):
            self.switched_at = now
            if not self._changed(["switched_by"]):
                self.switched_by = ""
            if not self._changed(["switch_reason"]):
                self.switch_reason = ""
            if self.enabled:
                self.resume_at = None
            self._decide(SWITCH)

    def _replan(self, now: datetime, using: str) -> None:
        """Plan an edited row; what came under the plan that this replaces is noted for the next round."""
        if planning.is_planned(self):
            return
        present = type(self)._base_manager.using(using).filter(pk=self.pk).first()
        if present is None:
            return
        # The plan to replace is the row's: this instance may have been read before a round or another edit.
        names = {*PLAN, "unsettled"}
        newer = {name: getattr(present, name) for name in names - self._changed(names)}
        self.__dict__ |= newer
        self._remember(newer)
        replaces = not (planning.is_planned(self) or planning.carries_on(self))
        self._plan(now)
        if replaces:
            self.unsettled = planning.to_note(planning.replaced_plans(present, now))

    def _plan(self, now: datetime) -> None:
        if planning.is_planned(self):
            return
        chosen = self.next_run_at
        if planning.carries_on(self):
            pass
        elif self.enabled or self._changed(EXPRESSION):
            plan = planning.plan(self, now, anchor=self.anchor if self._changed(["anchor"]) else None)
            self.anchor = plan.anchor
            by_hand = self.enabled and chosen is not None and self._changed(["next_run_at"])
            self.next_run_at = chosen if by_hand else plan.next_run_at
            self.next_planned_at = plan.next_run_at
        else:
            # Switching off needs no plan, so that a row edited into nonsense has a switch, too.
            self.next_run_at = self.next_planned_at = None
        self.planned_from = planning.planned_text(self, self.next_run_at)
        self.problem = ""
        self.version += 1
        self._decide(PLAN)

    # -- questions -----------------------------------------------------------------------------------

    @property
    def recurrence(self) -> Recurrence:
        """The rule of this row on its own grid; InvalidSchedule if the row was edited into nonsense."""
        return Recurrence.parse(self.schedule, self.timezone, anchor=self.anchor)

    def describe(self) -> str:
        """Say in English when it runs, on which days not, and how often at most; the zone is not named.

        Such as "at 09:00 every day, not on 25 December, 5 runs at most". Raises InvalidSchedule.
        """
        said = [
            Recurrence.parse(self.schedule, self.timezone).describe(),
            Exclusions.parse(self.except_on).describe(),
            "" if self.max_runs is None else f"{counted(self.max_runs, 'run')} at most",
        ]
        return ", ".join(part for part in said if part)

    @property
    def state(self) -> str:
        """on, off, completed (no further runs) or broken (`problem` says why)."""
        if not self.enabled:
            return "off"
        if self.problem:
            return "broken"
        return "completed" if self.next_run_at is None and planning.is_planned(self) else "on"

    def next_runs(self, count: int = 5) -> list[datetime]:
        """Return the next planned times, at most `count`; none of a row that is switched off.

        For a row that no scheduler has planned yet they are as planned now. Raises InvalidSchedule.
        """
        first, anchor = self.next_run_at, self.anchor
        if not (planning.is_planned(self) or planning.carries_on(self)):
            plan = planning.plan(self, database_clock(self._alias()))
            first, anchor = plan.next_run_at, plan.anchor
        if not self.enabled or first is None:
            return []
        later = Recurrence.parse(self.schedule, self.timezone, anchor=anchor).occurrences_after(first)
        if self.max_runs is not None:
            count = min(count, max(0, self.max_runs - self.runs))
        times = [first, *islice(later, max(0, count - 1))][:count]
        return [moment for moment in times if self.ends_at is None or moment <= self.ends_at]


class Occurrence(models.Model):
    """The record of one planned time of a schedule: its message, or the reason that there is none."""

    id = models.BigAutoField(primary_key=True)
    scheduled_job = models.ForeignKey(
        ScheduledJob,
        on_delete=models.CASCADE,
        related_name="occurrences",
        verbose_name=_("schedule"),
        db_index=False,
    )
    planned_at = MomentField(_("planned at"))
    fired_at = MomentField(_("fired at"), db_default=Clock())
    message_id = models.BigIntegerField(_("message"), null=True, blank=True)
    skipped_because = models.CharField(
        _("skipped because"), max_length=255, default="", db_default="", blank=True
    )
    skipped_count = models.PositiveIntegerField(_("skipped"), default=0, db_default=0)
    is_backfill = models.BooleanField(_("backfilled"), default=False, db_default=False)

    class Meta:
        verbose_name = _("occurrence")
        verbose_name_plural = _("occurrences")
        constraints = [
            models.UniqueConstraint(fields=["scheduled_job", "planned_at"], name="letsgo_occurrence_once")
        ]
        indexes = [
            models.Index(fields=["fired_at"], name="letsgo_occurrence_fired"),
            # Only older releases ask for the newest message of a schedule; migrations take nothing away.
            models.Index(fields=["scheduled_job", "message_id"], name="letsgo_occurrence_message"),
        ]

    def __str__(self) -> str:
        return f"{self.scheduled_job_id} at {self.planned_at}"

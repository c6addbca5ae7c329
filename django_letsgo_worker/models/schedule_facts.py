"""The columns of a schedule: what to enqueue, by which recurrence, and what schedulers keep of it.

How a row plans itself stands in schedule.py.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from .clock import Clock
from .fields import BytewiseCharField, ExactJSONField, JSONText, MomentField
from .saving import WrittenWhereChanged

# What no raw edit gets past either; what a database cannot check is checked in planning.
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
    models.CheckConstraint(condition=models.Q(overlap__in=("allow", "skip")), name="letsgo_schedule_overlap"),
    models.CheckConstraint(condition=models.Q(misfire_grace__gte=timedelta(0)), name="letsgo_schedule_grace"),
    models.CheckConstraint(
        condition=models.Q(deadline__isnull=True) | models.Q(deadline__gt=timedelta(0)),
        name="letsgo_schedule_deadline",
    ),
]


class ScheduleFacts(WrittenWhereChanged):
    """What a schedule is.

    Name, expression and type are all that an INSERT must say; a scheduler plans such a row when it looks.
    """

    class Misfire(models.TextChoices):
        ONCE = "once", _("run the newest missed one")
        SKIP = "skip", _("run none of them")
        ALL = "all", _("run each, up to a hundred")

    class Overlap(models.TextChoices):
        ALLOW = "allow", _("run all the same")
        SKIP = "skip", _("skip while an earlier one is unfinished")

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
        _("late after"), default=timedelta(seconds=60), db_default=timedelta(seconds=60)
    )
    overlap = models.CharField(
        _("overlap"), max_length=8, choices=Overlap.choices, default=Overlap.ALLOW, db_default="allow"
    )
    spread = models.PositiveIntegerField(_("spread"), default=0, db_default=0)
    anchor = MomentField(_("anchor"), null=True, blank=True, editable=False)
    next_run_at = MomentField(_("next run"), null=True, blank=True, editable=False)
    # What the plan said that next_run_at is: where they differ, it was set by hand.
    next_planned_at = MomentField(_("next planned run"), null=True, blank=True, editable=False)
    planned_from = models.TextField(_("planned from"), default="", db_default="", editable=False)
    # Plans that were replaced while times of theirs were due (planning.former): the next round settles them.
    unsettled = ExactJSONField(_("unsettled"), null=True, blank=True, editable=False)
    problem = models.TextField(_("problem"), default="", db_default="", blank=True, editable=False)
    last_run_at = MomentField(_("last run"), null=True, blank=True, editable=False)
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
        abstract = True

    def __str__(self) -> str:
        return self.name

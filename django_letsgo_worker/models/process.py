"""Processes: who works here, and since when; and whose turn the housekeeping is.

Recovery never reads these rows: a lease lapses by itself. They are for people and for metrics.
"""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from .clock import Clock
from .fields import ExactJSONField, JSONText, MomentField
from .saving import WrittenWhereChanged


class Process(WrittenWhereChanged):
    """A worker or scheduler process of this boot; its id is new at each start."""

    class Kind(models.TextChoices):
        WORKER = "worker", _("worker")
        SCHEDULER = "scheduler", _("scheduler")

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        DRAINING = "draining", _("draining")
        STOPPED = "stopped", _("stopped")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    name = models.CharField(_("name"), max_length=200)
    host = models.CharField(_("host"), max_length=255)
    pid = models.IntegerField(_("pid"))
    # A list of names; null means all.
    queues = ExactJSONField(_("queues"), null=True, blank=True)
    types = ExactJSONField(_("types"), default=list, db_default=JSONText("[]"))
    seats = models.IntegerField(_("seats"), default=0, db_default=0)
    busy = models.IntegerField(_("busy"), default=0, db_default=0)
    version = models.CharField(_("version"), max_length=32, default="", db_default="")
    started_at = MomentField(_("started at"), db_default=Clock())
    heartbeat_at = MomentField(_("heartbeat at"), db_default=Clock())
    state = models.CharField(
        _("state"), max_length=16, choices=State.choices, default=State.RUNNING, db_default="running"
    )
    stop_requested = models.BooleanField(_("stop requested"), default=False, db_default=False)

    class Meta:
        verbose_name = _("process")
        verbose_name_plural = _("processes")
        indexes = [models.Index(fields=["heartbeat_at"], name="letsgo_process_heartbeat")]
        permissions = [("stop_process", "Can stop processes")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Housekeeping(models.Model):
    """The one row that says when the housekeeping was last taken up; whoever moves it does the work."""

    id = models.SmallIntegerField(primary_key=True)
    taken_at = MomentField(_("taken at"), db_default=Clock())

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return "housekeeping"

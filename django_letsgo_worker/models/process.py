"""Processes, the turn of the housekeeping, all pauses, and queues that a worker waits at.

Recovery never reads processes: a lease lapses by itself. A queue needs no row to exist.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

from .clock import Clock
from .fields import BytewiseCharField, ExactJSONField, JSONText, MomentField
from .saving import WrittenWhereChanged


class Progress(NamedTuple):
    """How far a running message is, in its handler's own words."""

    fraction: float
    text: str


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
    # A list of names that it leaves to others, whatever `queues` says.
    excluded_queues = ExactJSONField(_("excluded queues"), default=list, db_default=JSONText("[]"))
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
    # A worker: the messages whose code it runs though they are its own no longer, such as cancelled ones.
    overrunning = ExactJSONField(_("overrunning"), default=list, db_default=JSONText("[]"))
    # A worker: how far its running messages are, as {message id: [receipt, fraction, text]}.
    progress = ExactJSONField(_("progress"), default=dict, db_default=JSONText("{}"))
    # A scheduler: since when it has fired whatever was due, without a break.
    awake_since = MomentField(_("awake since"), null=True, blank=True)

    class Meta:
        verbose_name = _("process")
        verbose_name_plural = _("processes")
        indexes = [models.Index(fields=["heartbeat_at"], name="letsgo_process_heartbeat")]
        permissions = [("stop_process", "Can stop processes"), ("forget_process", "Can forget processes")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def named_queues(self) -> list[str] | None:
        """The queues that it serves, by name; None for all but its `excluded_queues`."""
        if self.queues is None:
            return None
        return [queue for queue in self.queues if queue not in self.excluded_queues]

    def serves(self, queue: str) -> bool:
        """Return whether it claims from a queue."""
        return (self.queues is None or queue in self.queues) and queue not in self.excluded_queues

    def progress_of(self, message_id: int, receipt: int) -> Progress | None:
        """Return how far a message is that this process runs under this receipt; None if it has not said."""
        said_under, *said = (self.progress or {}).get(str(message_id)) or (None,)
        return Progress(*said) if said_under == receipt else None


class Housekeeping(models.Model):
    """The one row that says when the housekeeping was last taken up; the process that moves it does it."""

    id = models.SmallIntegerField(primary_key=True)
    taken_at = MomentField(_("taken at"), db_default=Clock())

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return "housekeeping"


class Pause(WrittenWhereChanged):
    """Since when something is paused, by whom, why and until when."""

    paused_at = MomentField(_("paused at"), null=True, blank=True)
    paused_by = models.CharField(_("paused by"), max_length=150, default="", db_default="", blank=True)
    pause_reason = models.CharField(_("pause reason"), max_length=255, default="", db_default="", blank=True)
    resume_at = MomentField(_("resume at"), null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None


class Queue(Pause):
    """A queue that was paused at least once."""

    name = BytewiseCharField(_("name"), max_length=64, primary_key=True)

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        permissions = [
            ("pause_queue", "Can pause queues"),
            ("purge_queue", "Can purge queues"),
            ("pause_type", "Can pause types"),
        ]

    def __str__(self) -> str:
        return self.name


class PausedType(Pause):
    """A type whose messages no worker claims; its row is deleted when it is resumed."""

    name = BytewiseCharField(_("name"), max_length=255, primary_key=True)

    class Meta:
        verbose_name = _("paused type")
        verbose_name_plural = _("paused types")
        # Queue has the permission to pause types.
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class MessageType(PausedType):
    """A type of messages on its page, where all types are listed, paused or not; few have a row."""

    class Meta:
        proxy = True
        verbose_name = _("type")
        verbose_name_plural = _("types")
        default_permissions = ("view",)


class SchedulesPause(Pause):
    """A pause of all schedules at once, past ones too: what was planned meanwhile is not made up for.

    One that has an end in `resumed_at`, or whose `resume_at` has come, is over.
    """

    id = models.BigAutoField(primary_key=True)
    resumed_at = MomentField(_("resumed at"), null=True, blank=True)
    resumed_by = models.CharField(_("resumed by"), max_length=150, default="", db_default="", blank=True)

    class Meta:
        verbose_name = _("pause of all schedules")
        verbose_name_plural = _("pauses of all schedules")
        default_permissions = ()

    def __str__(self) -> str:
        return f"schedules paused at {self.paused_at}"

    @property
    def ended_at(self) -> datetime | None:
        """When it was ended, or ends by itself; None while nobody knows."""
        return self.resumed_at or self.resume_at

    def is_over(self, now: datetime) -> bool:
        return self.resumed_at is not None or not self.holds(now)

    def holds(self, planned_at: datetime) -> bool:
        """Return whether a planned time comes before the end that was set, so that it does not run."""
        return self.resume_at is None or planned_at < self.resume_at


class IdleQueue(models.Model):
    """Whether workers wait for this queue, and which: an INSERT tells a few of them, and no busy one.

    PostgreSQL only, where the table is unlogged: a crash empties it, and a missing row counts as idle.
    """

    name = BytewiseCharField(max_length=64, primary_key=True)
    waiting = models.BooleanField(default=True, db_default=True)
    # The names of a few waiting workers, separated by spaces: each listens on a channel named after it. Where
    # nobody is listed, all that listen are told on the common channel.
    listeners = models.TextField(default="", db_default="", blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name

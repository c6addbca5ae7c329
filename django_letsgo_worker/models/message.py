"""Messages: live ones, finished ones, and the dead letters among those.

The live table holds only what waits or runs, so that a claim costs the same whatever the history.
"""

from __future__ import annotations

import time
from asyncio import sleep
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.db import connections, models
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..errors import WaitInTransaction
from ..validation import check_delay
from .clock import Clock
from .fields import BytewiseCharField, ExactJSONField, JSONText, MomentField
from .indexes import PartialIndex, PartialUniqueConstraint
from .saving import Rows, WrittenWhereChanged

# Pauses between the looks of one that waits for a message's end, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.25


class MessageFacts(WrittenWhereChanged):
    """The columns of a message, live or archived.

    Each column but the type has a default in the database: a trigger or another program can insert rows.
    """

    type = BytewiseCharField(_("type"), max_length=255)
    payload = ExactJSONField(_("payload"), default=None, db_default=JSONText("null"))
    headers = ExactJSONField(_("headers"), default=dict, db_default=JSONText("{}"))
    queue = BytewiseCharField(_("queue"), max_length=64, default="default", db_default="default")
    priority = models.SmallIntegerField(_("priority"), default=0, db_default=0)
    visible_at = MomentField(_("visible at"), db_default=Clock())
    enqueued_at = MomentField(_("enqueued at"), db_default=Clock())
    deadline = MomentField(_("deadline"), null=True, blank=True)
    attempts = models.SmallIntegerField(_("attempts"), default=0, db_default=0)
    max_attempts = models.SmallIntegerField(_("attempts allowed"), default=10, db_default=10)
    receipt = models.BigIntegerField(_("receipt"), default=0, db_default=0)
    deaths = models.SmallIntegerField(_("deaths in a row"), default=0, db_default=0)
    leased_by = models.UUIDField(_("leased by"), null=True, blank=True)
    leased_at = MomentField(_("leased at"), null=True, blank=True)
    first_started_at = MomentField(_("first started at"), null=True, blank=True)
    unique_key = BytewiseCharField(_("unique key"), max_length=200, null=True, blank=True)
    # Plain numbers: a message outlives its schedule.
    scheduled_job_id = models.BigIntegerField(_("scheduled job"), null=True, blank=True)
    planned_at = MomentField(_("planned at"), null=True, blank=True)
    errors = ExactJSONField(_("errors"), default=list, db_default=JSONText("[]"))

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.type} {self.pk}"

    def wait(self, timeout: float | timedelta | str | None = None) -> ArchivedMessage | None:
        """Wait until this message has ended, and return what became of it: its outcome, result and errors.

        `timeout` is how long to wait at most, in seconds, as a timedelta or as text such as 90s; None is for
        ever. Returns None where nothing of it was kept, by the settings or since it was deleted. Raises
        TimeoutError when the time is over, and WaitInTransaction, unless the message has ended already, in a
        transaction: no worker sees there what it enqueued.
        """
        waiting = Waiting(self, timeout)
        while not waiting.is_over():
            time.sleep(waiting.pause())
        return waiting.ended

    async def wait_async(self, timeout: float | timedelta | str | None = None) -> ArchivedMessage | None:
        """Wait as wait() does, for at most `timeout`, and let other coroutines go on meanwhile."""
        waiting = Waiting(self, timeout)
        while not await sync_to_async(waiting.is_over)():
            await sleep(waiting.pause())
        return waiting.ended


class Message(MessageFacts):
    """A message that waits or runs.

    `visible_at` alone says when it may be claimed: a delay, a back-off and a lease are all that column.
    """

    id = models.BigAutoField(primary_key=True)
    # The newest failed attempt's: failures are grouped while their messages are still retried.
    error_fingerprint = models.CharField(_("error fingerprint"), max_length=40, null=True, blank=True)  # noqa: DJ001

    # Whether enqueue() made this row, or found a live twin. None for rows read from the database.
    created: bool | None = None

    objects: ClassVar[models.Manager[Message]] = models.Manager.from_queryset(Rows["Message"])()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        # Claims read one (queue, priority) lane by equality, so this index gives rows in order without
        # a sort. It must not end in id: PostgreSQL would then answer `id = ANY(...)` by reading the
        # whole lane whenever the statistics are wrong.
        indexes = [
            models.Index(fields=["queue", "priority", "visible_at"], name="letsgo_message_lane"),
            # For the housekeeping: a deadline passes in queues that nobody claims from, too.
            PartialIndex(
                fields=["deadline"], name="letsgo_message_deadline", where=models.Q(deadline__isnull=False)
            ),
            # Whether a message of a schedule is unfinished. Only messages of schedules are in it.
            PartialIndex(
                fields=["scheduled_job_id"],
                name="letsgo_message_schedule",
                where=models.Q(scheduled_job_id__isnull=False),
            ),
            # The live messages of a failure. Null, not "": PostgreSQL can then tell from any comparison that
            # a row is in it.
            PartialIndex(
                fields=["error_fingerprint"],
                name="letsgo_message_fingerprint",
                where=models.Q(error_fingerprint__isnull=False),
            ),
        ]
        constraints = [
            PartialUniqueConstraint(
                fields=["type", "unique_key"],
                name="letsgo_message_live_key",
                where=models.Q(unique_key__isnull=False),
            )
        ]
        permissions = [
            ("redrive_message", "Can redrive dead letters"),
            ("cancel_message", "Can cancel messages"),
            ("retry_message", "Can retry messages at once"),
            ("move_message", "Can move messages to another queue"),
            ("view_payload", "Can view payloads"),
        ]

    def state_at(self, now: datetime) -> str:
        """Return running, ready, retrying or scheduled; a live message's state is never stored."""
        if self.visible_at <= now:
            return "ready"
        if self.leased_by is not None:
            return "running"
        return "retrying" if self.attempts else "scheduled"


@dataclass(frozen=True, slots=True)
class LiveState:
    """A state in SQL and as Q: on which side of the clock `visible_at` is, and the further condition."""

    sign: str
    sql: str = ""
    q: models.Q = field(default_factory=models.Q)


# The same as Message.state_at() says of one row.
LIVE_STATES = {
    "ready": LiveState("<="),
    "running": LiveState(">", "leased_by IS NOT NULL", models.Q(leased_by__isnull=False)),
    "retrying": LiveState(
        ">", "leased_by IS NULL AND attempts > 0", models.Q(leased_by__isnull=True, attempts__gt=0)
    ),
    "scheduled": LiveState(
        ">", "leased_by IS NULL AND attempts = 0", models.Q(leased_by__isnull=True, attempts=0)
    ),
}


def in_state(name: str, now: datetime) -> models.Q:
    """Return the condition of live messages in a state."""
    state = LIVE_STATES[name]
    return models.Q(**{"visible_at__lte" if state.sign == "<=" else "visible_at__gt": now}) & state.q


class Outcome(models.TextChoices):
    """The ways in which a message ends."""

    SUCCEEDED = "succeeded", _("succeeded")
    DEAD = "dead", _("dead")
    CANCELLED = "cancelled", _("cancelled")
    EXPIRED = "expired", _("expired")


class ArchivedMessage(MessageFacts):
    """A message that ended, with the id that it always had and its outcome."""

    id = models.BigIntegerField(primary_key=True)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices)
    finished_at = MomentField(_("finished at"), db_default=Clock())
    seconds = models.FloatField(_("seconds"), null=True, blank=True)
    result = ExactJSONField(_("result"), null=True, blank=True)
    error_class = BytewiseCharField(_("error class"), max_length=255, default="", db_default="", blank=True)
    error_fingerprint = models.CharField(
        _("error fingerprint"), max_length=40, default="", db_default="", blank=True
    )

    class Meta:
        verbose_name = _("archived message")
        verbose_name_plural = _("archived messages")
        # Every further index costs every message.
        indexes = [
            models.Index(fields=["outcome", "finished_at"], name="letsgo_archive_outcome"),
            models.Index(fields=["type", "finished_at"], name="letsgo_archive_type"),
            PartialIndex(
                fields=["error_fingerprint", "finished_at"],
                name="letsgo_archive_fingerprint",
                where=models.Q(outcome="dead"),
                # The dead letters of a failure are counted by both.
                covers=("type",),
            ),
        ]


class Waiting:
    """One that waits for the end of a message: it looks, pauses and looks again, until its time is over."""

    def __init__(self, message: MessageFacts, timeout: float | timedelta | str | None) -> None:
        self.message = message
        self.ended: ArchivedMessage | None = None
        self._using = message._state.db or settings().database
        self._seconds = None if timeout is None else check_delay("timeout", timeout)
        self._began, self._pause = _steady_clock(), FIRST_PAUSE

    def is_over(self) -> bool:
        """Look, and return whether the message has ended; `ended` is what is kept of it."""
        live = Message.objects.using(self._using).filter(pk=self.message.pk)
        while not live.exists():
            self.ended = ArchivedMessage.objects.using(self._using).filter(pk=self.message.pk).first()
            # One that was redriven between the two looks is in neither of their answers.
            if self.ended is not None or not live.exists():
                return True
        if connections[self._using].in_atomic_block:
            raise WaitInTransaction(self.message.pk)
        return False

    def pause(self) -> float:
        """Return for how many seconds to pause before the next look; TimeoutError if the time is over."""
        pause, self._pause = self._pause, min(LONGEST_PAUSE, 1.5 * self._pause)
        if self._seconds is None:
            return pause
        left = self._seconds - (_steady_clock() - self._began)
        if left <= 0:
            raise TimeoutError(
                f"Message {self.message.pk} ({self.message.type}) has not ended within {self._seconds:g} s."
            )
        return min(pause, left)


def _steady_clock() -> float:
    # In a way that no test's frozen time reaches.
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class DeadLetterManager(models.Manager["DeadLetter"]):
    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().filter(outcome=Outcome.DEAD)


class DeadLetter(ArchivedMessage):
    """A message given up, kept for people: to redrive or to discard."""

    objects = DeadLetterManager()  # type: ignore[misc]

    class Meta:
        proxy = True
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        permissions = [("discard_deadletter", "Can discard dead letters")]

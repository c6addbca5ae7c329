"""What the history is told from once it is long: counts by the minute and the hour, and failures in groups.

Workers add to these rows; no claim and no settlement reads them.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import BytewiseCharField, ExactJSONField, JSONText, MomentField


class Statistic(models.Model):
    """What became of one queue's messages of one type within a minute or an hour.

    `failed` counts attempts, the last ones of dead letters included; the other outcomes count messages.
    `depth` is the most that were due and not yet claimed when the housekeeping looked, once a minute.
    """

    MINUTE, HOUR = 60, 3600

    id = models.BigAutoField(primary_key=True)
    # The beginning of the span, and its length in seconds.
    at = MomentField(_("at"))
    span = models.SmallIntegerField(_("span"), default=MINUTE, db_default=MINUTE)
    queue = BytewiseCharField(_("queue"), max_length=64)
    type = BytewiseCharField(_("type"), max_length=255)
    succeeded = models.BigIntegerField(_("succeeded"), default=0, db_default=0)
    failed = models.BigIntegerField(_("failed"), default=0, db_default=0)
    dead = models.BigIntegerField(_("dead"), default=0, db_default=0)
    cancelled = models.BigIntegerField(_("cancelled"), default=0, db_default=0)
    expired = models.BigIntegerField(_("expired"), default=0, db_default=0)
    depth = models.IntegerField(_("depth"), default=0, db_default=0)
    # Histograms: the number of attempts by the bucket of how long they ran, and how long they waited.
    run = ExactJSONField(_("run time"), default=dict, db_default=JSONText("{}"))
    wait = ExactJSONField(_("wait time"), default=dict, db_default=JSONText("{}"))

    class Meta:
        verbose_name = _("statistic")
        verbose_name_plural = _("statistics")
        constraints = [
            models.UniqueConstraint(fields=["span", "at", "queue", "type"], name="letsgo_statistic_once")
        ]

    def __str__(self) -> str:
        return f"{self.type} in {self.queue} at {self.at}"


class Failure(models.Model):
    """All failed attempts of a type that are the same to a person: by class, place and words of the error."""

    id = models.BigAutoField(primary_key=True)
    fingerprint = models.CharField(_("fingerprint"), max_length=40)
    type = BytewiseCharField(_("type"), max_length=255)
    error_class = BytewiseCharField(_("error class"), max_length=255, default="", db_default="", blank=True)
    message = models.TextField(_("message"), default="", blank=True)
    first_at = MomentField(_("first at"))
    last_at = MomentField(_("last at"))
    count = models.BigIntegerField(_("count"), default=0, db_default=0)
    # Pairs of an hour, an ISO moment in UTC, and the number of failed attempts in it: the last 48.
    recent = ExactJSONField(_("recent"), default=list, db_default=JSONText("[]"))
    # The versions of the workers that met it, oldest first.
    versions = ExactJSONField(_("versions"), default=list, db_default=JSONText("[]"))
    last_message_id = models.BigIntegerField(_("last message"), null=True, blank=True)
    last_traceback = models.TextField(_("last traceback"), default="", blank=True)

    class Meta:
        verbose_name = _("failure")
        verbose_name_plural = _("failures")
        constraints = [models.UniqueConstraint(fields=["type", "fingerprint"], name="letsgo_failure_once")]
        indexes = [models.Index(fields=["last_at"], name="letsgo_failure_last")]

    def __str__(self) -> str:
        return f"{self.error_class.rpartition('.')[2]} in {self.type}"

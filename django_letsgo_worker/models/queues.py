"""Queues that somebody paused or that a worker waits at; a queue without a row is a queue all the same."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import BytewiseCharField, MomentField
from .saving import WrittenWhereChanged


class Queue(WrittenWhereChanged):
    """A queue that was paused at least once: since when, by whom, why and until when."""

    name = BytewiseCharField(_("name"), max_length=64, primary_key=True)
    paused_at = MomentField(_("paused at"), null=True, blank=True)
    paused_by = models.CharField(_("paused by"), max_length=150, default="", db_default="", blank=True)
    pause_reason = models.CharField(_("pause reason"), max_length=255, default="", db_default="", blank=True)
    resume_at = MomentField(_("resume at"), null=True, blank=True)

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        permissions = [("pause_queue", "Can pause queues"), ("purge_queue", "Can purge queues")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None


class IdleQueue(models.Model):
    """Whether a worker waits for this queue, so that an INSERT need not notify a busy one.

    PostgreSQL only, where the table is unlogged: a crash empties it, and a missing row counts as idle.
    """

    name = BytewiseCharField(max_length=64, primary_key=True)
    waiting = models.BooleanField(default=True, db_default=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name

"""Bulk operations: what is done to many messages, how far it is, and what each of them was before.

A worker works them off; the web request that began one never waits for it.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .clock import Clock
from .fields import BytewiseCharField, ExactJSONField, JSONText, MomentField
from .saving import WrittenWhereChanged


class BulkOperation(WrittenWhereChanged):
    """One verb on all messages that a filter finds."""

    class Kind(models.TextChoices):
        RETRY = "retry", _("retry")
        REDRIVE = "redrive", _("redrive")
        DISCARD = "discard", _("discard")
        CANCEL = "cancel", _("cancel")
        MOVE = "move", _("move")

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        RUNNING = "running", _("running")
        STOPPED = "stopped", _("stopped")
        UNDONE = "undone", _("undone")
        DONE = "done", _("done")

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    filter = ExactJSONField(_("filter"), default=dict, db_default=JSONText("{}"))
    to_queue = BytewiseCharField(_("to queue"), max_length=64, default="", db_default="", blank=True)
    over = models.DurationField(_("over"), null=True, blank=True)
    by = models.CharField(_("by"), max_length=150, default="", db_default="", blank=True)
    reason = models.CharField(_("reason"), max_length=255, default="", db_default="", blank=True)
    state = models.CharField(
        _("state"), max_length=16, choices=State.choices, default=State.WAITING, db_default="waiting"
    )
    # How many messages the filter found, how many were changed, left as they are, and given back.
    total = models.BigIntegerField(_("total"), default=0, db_default=0)
    done = models.BigIntegerField(_("done"), default=0, db_default=0)
    skipped = models.BigIntegerField(_("skipped"), default=0, db_default=0)
    given_back = models.BigIntegerField(_("given back"), default=0, db_default=0)
    # The progress: messages up to this one are worked off. Dead letters are in the order of their ends.
    last_id = models.BigIntegerField(_("last message"), default=0, db_default=0)
    last_at = MomentField(_("end of the last message"), null=True, blank=True)
    created_at = MomentField(_("created at"), db_default=Clock())
    started_at = MomentField(_("started at"), null=True, blank=True)
    finished_at = MomentField(_("finished at"), null=True, blank=True)

    class Meta:
        verbose_name = _("bulk operation")
        verbose_name_plural = _("bulk operations")
        permissions = [
            ("stop_bulkoperation", "Can stop bulk operations"),
            ("undo_bulkoperation", "Can undo bulk operations"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class BulkOperationItem(models.Model):
    """A message that a bulk operation changed, under which receipt it left it, and what it was before."""

    id = models.BigAutoField(primary_key=True)
    operation = models.ForeignKey(BulkOperation, on_delete=models.CASCADE, related_name="items")
    message_id = models.BigIntegerField(_("message"))
    receipt = models.BigIntegerField(_("receipt"), default=0, db_default=0)
    before = ExactJSONField(_("before"), default=dict, db_default=JSONText("{}"))

    class Meta:
        verbose_name = _("changed message")
        verbose_name_plural = _("changed messages")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["operation", "message_id"], name="letsgo_operation_item_once")
        ]

    def __str__(self) -> str:
        return f"message {self.message_id}"

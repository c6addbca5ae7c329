"""The memory of events that have become messages, for as long as Stripe may send one again.

The events themselves are messages; nothing of them is kept here.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _


class SeenEvent(models.Model):
    """An event that was enqueued; the row commits together with its message.

    A separate table: to find an event's message among millions of archived ones would take an index on
    the archive, which every message of every type pays for.
    """

    # SHA-256 of the event's id, in hexadecimal: MySQL would take evt_1a for evt_1A.
    digest = models.CharField(_("digest"), max_length=64, primary_key=True)
    seen_at = models.DateTimeField(_("seen at"), db_index=True)

    class Meta:
        verbose_name = _("seen event")
        verbose_name_plural = _("seen events")

    def __str__(self) -> str:
        return self.digest

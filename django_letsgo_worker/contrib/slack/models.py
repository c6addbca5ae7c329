"""The row that says who may talk to Slack now, and from when on the next may."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class SlackTurn(models.Model):
    """The right to send, held by at most one handler of all workers.

    Taken by compare-and-set on `free_at`. Without a holder a later `free_at` is a pause that Slack
    asked for. The URL is not here, nor anywhere else in the database.
    """

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True)
    holder = models.UUIDField(_("holder"), null=True, blank=True)
    free_at = models.DateTimeField(_("free at"))

    class Meta:
        verbose_name = _("Slack turn")
        verbose_name_plural = _("Slack turns")
        default_permissions = ()

    def __str__(self) -> str:
        return f"Slack turn, free at {self.free_at}"

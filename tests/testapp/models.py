"""What handlers wrote: the ledger that tests compare with what was enqueued."""

from __future__ import annotations

from django.db import models


class Entry(models.Model):
    """One run of a plain handler, written in autocommit as its first act."""

    n = models.IntegerField()
    receipt = models.BigIntegerField()
    attempt = models.IntegerField()
    # The pid.
    process = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.n} under receipt {self.receipt}"


class Effect(models.Model):
    """What an atomic handler wrote. Nothing here is unique: one for each n is the worker's doing."""

    n = models.IntegerField()
    receipt = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.n} under receipt {self.receipt}"

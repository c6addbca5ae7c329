"""The shop's rows: orders, their invoices, the mails that were sent, and sales reports."""

from __future__ import annotations

from decimal import Decimal

from django.db import models

from django_letsgo_worker.errors import MessageNotFound
from django_letsgo_worker.messages import find


class Article(models.TextChoices):
    TEA = "tea"
    COFFEE = "coffee"
    CUP = "cup"

    @property
    def price(self) -> Decimal:
        return {"tea": Decimal("6.50"), "coffee": Decimal("8.90"), "cup": Decimal("12.00")}[self.value]


class Order(models.Model):
    """An order of a customer; placing it enqueues `order:new` in the same transaction."""

    article = models.CharField(max_length=16, choices=Article.choices, default=Article.TEA)
    customer = models.EmailField()
    placed_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"order {self.pk}"

    @property
    def price(self) -> Decimal:
        return Article(self.article).price


class Invoice(models.Model):
    """One for each order. Nothing here is unique: the atomic handler makes exactly one anyway."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="invoices")
    amount = models.DecimalField(max_digits=8, decimal_places=2)
    written_at = models.DateTimeField(auto_now_add=True)
    # Plain numbers: the messages move to the archive, and are pruned there later.
    mail_message_id = models.BigIntegerField(null=True, editable=False)
    # The message that books the parcel: set as soon as the invoice is paid.
    parcel_message_id = models.BigIntegerField(null=True, editable=False)

    def __str__(self) -> str:
        return f"invoice {self.pk}"

    @property
    def mail_state(self) -> str:
        """Return the state of the mail in a word, as the queue knows it."""
        return state_of(self.mail_message_id)

    @property
    def parcel_state(self) -> str:
        """Return the state of the parcel in a word; empty while the invoice is not paid."""
        return "" if self.parcel_message_id is None else state_of(self.parcel_message_id)


def state_of(message_id: int) -> str:
    try:
        message = find(message_id)
    except MessageNotFound:
        return "forgotten"
    return getattr(message, "outcome", "waiting")


class Mail(models.Model):
    """A mail sent by the service of `mailservice`. In real life this table belongs to that service."""

    idempotency_key = models.CharField(max_length=100, unique=True)
    to = models.EmailField()
    subject = models.CharField(max_length=200)
    requests = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"mail {self.pk}"


class Report(models.Model):
    """Sales up to a planned time."""

    until = models.DateTimeField()
    orders = models.PositiveIntegerField()
    turnover = models.DecimalField(max_digits=10, decimal_places=2)

    def __str__(self) -> str:
        return f"sales until {self.until:%Y-%m-%d %H:%M}"

"""Placing an order: the row and its message, or neither."""

from __future__ import annotations

from django.db import transaction

from django_letsgo_worker import enqueue

from .models import Order


def place(order: Order) -> Order:
    """Save a new order and enqueue its work, in one transaction.

    If anything here fails, or the caller's own transaction rolls back, there is neither order nor message.
    """
    with transaction.atomic():
        order.save()
        enqueue("order:new", {"order": order.pk})
        enqueue("stock:check", {"article": order.article})
    return order

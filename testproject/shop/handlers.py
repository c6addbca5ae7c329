"""The shop's handlers: one function for each type of message."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx

from django_letsgo_worker import Delivery, Reject, enqueue, handler
from django_letsgo_worker.contrib.api_token import api_url, get_access_token

from . import mailservice
from .models import Invoice, Order, Report

IN_STOCK = 100


@handler("order:new", queue="orders", atomic=True)
def write_invoice(delivery: Delivery) -> None:
    """Write the invoice and enqueue its mail.

    Atomic: the invoice, the mail's message and the acknowledgement commit together, so that there is
    exactly one invoice in this database, whatever is killed in between.
    """
    order = Order.objects.get(pk=delivery.payload["order"])
    invoice = Invoice.objects.create(order=order, amount=order.price)
    mail = enqueue("mail:send", {"invoice": invoice.pk})
    invoice.mail_message_id = mail.pk
    invoice.save(update_fields=["mail_message_id"])


@handler("mail:send", queue="mails", backoff=[1, 5, 30], max_attempts=5)
def send_invoice(delivery: Delivery) -> None:
    """Send an invoice by a service outside the database.

    Not atomic, because no transaction reaches the service: this runs at least once. The message's id is
    the idempotency key, the same at each attempt, so that the customer still gets only one mail.
    """
    invoice = Invoice.objects.select_related("order").get(pk=delivery.payload["invoice"])
    if invoice.order.customer.endswith(".invalid"):
        raise Reject("The customer's address cannot exist.")
    mailservice.send(
        invoice.order.customer,
        f"Your invoice {invoice.pk}",
        idempotency_key=f"mail-{delivery.message_id}",
        # For the demonstration: the first reply for every third order is lost.
        loses_reply=delivery.attempt == 1 and invoice.order_id % 3 == 0,
    )


@handler("stock:check")
async def check_stock(delivery: Delivery) -> dict[str, Any]:
    """Count what is left of an article; a handler's return value is kept with its message."""
    article = delivery.payload["article"]
    sold = await Order.objects.filter(article=article).acount()
    return {"article": article, "left": IN_STOCK - sold}


@handler("report:sales", atomic=True)
def write_sales_report(delivery: Delivery) -> None:
    """Sum up the sales until the planned time, which stays the same however late this runs."""
    until = delivery.planned_at or delivery.enqueued_at
    orders = list(Order.objects.filter(placed_at__lte=until))
    turnover = sum((order.price for order in orders), Decimal(0))
    Report.objects.create(until=until, orders=len(orders), turnover=turnover)


@handler("letsgo:stripe", where={"type": "invoice.paid"}, atomic=True)
def invoice_paid(delivery: Delivery) -> None:
    """Have a parcel booked when Stripe reports a paid invoice; other events are only logged."""
    paid = delivery.payload["data"]["object"]
    number = (paid.get("metadata") or {}).get("invoice", "")
    invoice = Invoice.objects.filter(pk=number).first() if number.isdecimal() else None
    if invoice is None:
        delivery.log.warning("Stripe's invoice %s is not one of ours.", paid["id"])
        return
    if invoice.parcel_message_id is None:  # Stripe may report it twice
        parcel = enqueue("parcel:book", {"invoice": invoice.pk}, unique_key=f"invoice-{invoice.pk}")
        invoice.parcel_message_id = parcel.pk
        invoice.save(update_fields=["parcel_message_id"])


@handler("parcel:book", queue="parcels", backoff=[1, 5, 30])
def book_parcel(delivery: Delivery) -> dict[str, Any]:
    """Book a parcel by an external API, with an access token; the key makes a second attempt harmless."""
    order = Invoice.objects.select_related("order").get(pk=delivery.payload["invoice"]).order
    answer = httpx.post(
        api_url("parcels"),
        json={"article": order.article, "to": order.customer},
        headers={
            "Authorization": f"Bearer {get_access_token()}",
            "Idempotency-Key": f"parcel-{delivery.message_id}",
        },
        timeout=10,
    )
    answer.raise_for_status()
    return answer.json()

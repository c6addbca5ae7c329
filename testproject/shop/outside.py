"""Services that are external in real life, as views of the shop: the demonstration needs no internet.

A Slack that shows what it is sent, a Stripe that reports a paid invoice, a parcel service with an API that
trusts access tokens. What they receive is kept in the memory of the site's process.
"""

from __future__ import annotations

import json
import time
from collections import deque
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from django_letsgo_worker.contrib.api_token import InvalidToken, authenticate
from django_letsgo_worker.contrib.stripe.signatures import webhook_secret

from .models import Invoice

slack_texts: deque[str] = deque(maxlen=50)
# Idempotency key -> the booking under it.
parcels: dict[str, Any] = {}


@csrf_exempt
@require_POST
def slack(request: HttpRequest) -> HttpResponse:
    """Accept a message as Slack's webhook does."""
    slack_texts.appendleft(json.loads(request.body).get("text", ""))
    return HttpResponse("ok")


@require_safe
def seen(request: HttpRequest) -> HttpResponse:
    """Show what the external services have received."""
    return render(request, "shop/outside.html", {"texts": slack_texts, "parcels": parcels})


@csrf_exempt
@require_POST
def book_parcel(request: HttpRequest) -> JsonResponse:
    """Book a parcel for a request with a token of the worker; once for each idempotency key."""
    try:
        claims = authenticate(request)
    except InvalidToken as error:
        return JsonResponse({"error": str(error)}, status=401)
    if claims is None:
        return JsonResponse({"error": "An access token is required."}, status=401)
    facts = {**json.loads(request.body), "by": claims["sub"]}
    key = request.headers["Idempotency-Key"]
    return JsonResponse({"parcel": key, **parcels.setdefault(key, facts)})


@require_POST
def pay(request: HttpRequest, invoice: int) -> HttpResponse:
    """Pay an invoice: Stripe tells the shop's webhook, over HTTP and signed."""
    import stripe

    found = get_object_or_404(Invoice, pk=invoice)
    if found.parcel_message_id is not None:
        messages.info(request, f"Invoice {invoice} is already paid.")
        return redirect("shop")
    body = json.dumps(paid_event(found))
    signature = stripe.WebhookSignature.generate_signature_header(
        body, webhook_secret("TEST"), timestamp=int(time.time())
    )
    url = request.build_absolute_uri(reverse("letsgo_stripe_webhook", args=["test"]))
    httpx.post(url, content=body, headers={"Stripe-Signature": signature}, trust_env=False).raise_for_status()
    messages.success(
        request,
        f"You paid invoice {invoice}. Stripe told the shop's webhook, which enqueued letsgo:stripe; "
        "its handler has the parcel booked.",
    )
    return redirect("shop")


def paid_event(invoice: Invoice) -> dict[str, Any]:
    """Return Stripe's event for a paid invoice; paid twice, it is the same event."""
    return {
        "id": f"evt_shop_{invoice.pk}",
        "object": "event",
        "type": "invoice.paid",
        "livemode": False,
        "data": {
            "object": {
                "id": f"in_shop_{invoice.pk}",
                "object": "invoice",
                "amount_paid": int(invoice.amount * 100),
                "currency": "eur",
                "customer_email": invoice.order.customer,
                "metadata": {"invoice": str(invoice.pk)},
            }
        },
    }


def environment(site: str) -> dict[str, str]:
    """Return settings that point the shop's worker to the services here, with a new key."""
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "LETSGO_SLACK_URL": f"{site}/outside/slack",
        "LETSGO_API_URL": f"{site}/outside/api",
        "LETSGO_API_TOKEN_PRIVATE_KEY": pem,
        "LETSGO_API_TOKEN_KEY_ID": "demo",
    }


urlpatterns = [
    path("", seen, name="outside"),
    path("slack", slack, name="outside-slack"),
    path("api/parcels", book_parcel, name="outside-parcels"),
    path("stripe/pay/<int:invoice>", pay, name="outside-pay"),
]

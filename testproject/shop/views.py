"""The pages of the shop: place an order and follow the last ones; get in touch."""

from __future__ import annotations

import json

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from django_letsgo_worker.contrib.contact.views import ContactView

from . import orders
from .forms import OrderForm
from .models import Order, Report


@require_http_methods(["GET", "HEAD", "POST"])
def shop(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        order = orders.place(form.save(commit=False))
        messages.success(request, f"Thank you. This is order {order.pk}; a worker writes its invoice.")
        return redirect("shop")
    return render(
        request,
        "shop/shop.html",
        {
            "form": form,
            "orders": Order.objects.prefetch_related("invoices").order_by("-pk")[:20],
            "report": Report.objects.order_by("pk").last(),
        },
        status=400 if form.errors else 200,
    )


@require_POST
def contact(request: HttpRequest) -> HttpResponse:
    """Pass the form to the app for contact forms, and answer with a page instead of its JSON."""
    answer = ContactView.as_view()(request)
    return render(request, "shop/contact.html", json.loads(answer.content), status=answer.status_code)

"""The one page of the shop: place an order, and see what became of the last ones."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from . import orders
from .forms import OrderForm
from .models import Order, Report


@require_http_methods(["GET", "HEAD", "POST"])
def shop(request: HttpRequest) -> HttpResponse:
    form = OrderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        orders.place(form.save(commit=False))
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

"""The shop's own rows in the admin; django_letsgo_worker adds messages and schedules itself."""

from __future__ import annotations

from django.contrib import admin

from .models import Invoice, Mail, Order, Report


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["id", "article", "customer", "placed_at"]


@admin.register(Invoice)
class InvoiceAdmin(admin.ModelAdmin):
    list_display = ["id", "order", "amount", "written_at"]
    list_select_related = ["order"]


@admin.register(Mail)
class MailAdmin(admin.ModelAdmin):
    list_display = ["id", "to", "subject", "requests", "sent_at"]


@admin.register(Report)
class ReportAdmin(admin.ModelAdmin):
    list_display = ["until", "orders", "turnover"]

"""The form that a customer fills in."""

from __future__ import annotations

from django import forms

from .models import Order


class OrderForm(forms.ModelForm):
    class Meta:
        model = Order
        fields = ["article", "customer"]
        labels = {"customer": "Your e-mail address"}

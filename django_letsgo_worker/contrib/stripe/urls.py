"""The addresses of the webhooks: `stripe/webhook/live` and `stripe/webhook/test`.

A project includes them where it likes.
"""

from django.urls import re_path

from .views import webhook

# With or without a slash at the end: the address is typed into Stripe's form by hand.
urlpatterns = [
    re_path(r"^stripe/webhook/(?P<mode>live|test)/?$", webhook, name="letsgo_stripe_webhook"),
]

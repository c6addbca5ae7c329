"""A project that includes the addresses of contrib.stripe and contrib.api_token at its root."""

from django.urls import include, path

urlpatterns = [
    path("", include("django_letsgo_worker.contrib.stripe.urls")),
    path("", include("django_letsgo_worker.contrib.api_token.urls")),
]

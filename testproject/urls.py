"""URLs of the shop's pages, the admin, the optional apps, and the external services of `shop.outside`."""

from django.contrib import admin
from django.urls import include, path

from testproject.shop.views import contact, shop

urlpatterns = [
    path("", shop, name="shop"),
    path("contact/", contact, name="contact"),
    path("admin/", admin.site.urls),
    path("", include("django_letsgo_worker.contrib.contact.urls")),
    path("", include("django_letsgo_worker.contrib.stripe.urls")),
    path("", include("django_letsgo_worker.contrib.api_token.urls")),
    path("outside/", include("testproject.shop.outside")),
]

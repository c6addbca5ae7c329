"""The one address of this app, to be included where the project wants it."""

from django.urls import path

from .views import ContactView

app_name = "letsgo_contact"
urlpatterns = [path("v1/contact", ContactView.as_view(), name="contact")]

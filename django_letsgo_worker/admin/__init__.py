"""The admin pages of background work; importing this registers them with Django's default site.

Each page is a door: it shows rows, and changes them by calling the verbs of the floors below.
"""

from django.apps import apps
from django.contrib import admin

from . import (
    archive,
    dead_letters,
    failures,
    message_types,
    messages,
    operations,
    processes,
    queues,
    schedules,
    sites,
)
from .overview import put_badge_on


def register(site: admin.AdminSite, using: str | None = None) -> None:
    """Register all pages with an admin site of a project's own, as they are with Django's default site.

    `using` is the alias of the database that this site shows and changes, the setting DATABASE if None.
    Raises ImproperlyConfigured for an alias that DATABASES lacks, or that no router sends our models to.
    """
    sites.add(site, using)
    for model in apps.get_app_config("django_letsgo_worker").get_models():
        if admin.site.is_registered(model) and not site.is_registered(model):
            site.register(model, type(admin.site.get_model_admin(model)))
    put_badge_on(site)


sites.add(admin.site, None)
put_badge_on(admin.site)

__all__ = [
    "archive",
    "dead_letters",
    "failures",
    "message_types",
    "messages",
    "operations",
    "processes",
    "queues",
    "register",
    "schedules",
]

"""The admin pages of background work; importing this registers them with Django's default site.

Each page is a door: it shows rows, and changes them by calling the verbs of the floors below.
"""

from django.contrib import admin

from . import archive, dead_letters, failures, messages, operations, processes, queues, schedules
from .overview import put_badge_on

put_badge_on(admin.site)

__all__ = [
    "archive",
    "dead_letters",
    "failures",
    "messages",
    "operations",
    "processes",
    "queues",
    "schedules",
]

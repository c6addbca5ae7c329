"""The admin pages of background work; importing this registers them with Django's default site.

Each page is a door: it shows rows, and changes them by calling the verbs of the floors below.
"""

from . import archive, dead_letters, failures, messages, operations, processes, queues, schedules

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

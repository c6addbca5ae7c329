"""The admin of background work: importing this registers its pages with Django's default site.

Each page is a door: it shows rows, and calls the verbs of the floors below to change them.
"""

from . import archive, dead_letters, messages, processes, queues, schedules

__all__ = ["archive", "dead_letters", "messages", "processes", "queues", "schedules"]

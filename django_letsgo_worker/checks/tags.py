"""Which checks are made when: the tags; and the database that most of them are about.

No check stands here. Those that read rows have Django's tag `database`: they are made when it is named.
"""

from __future__ import annotations

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from ..conf import settings

# Workers and schedulers make these too, when they start, and do not start with an error among them.
AT_START = "letsgo_worker"
# What the project should know, and a worker need not be told each time.
PROJECT = "letsgo_project"


def alias_of_queue() -> str | None:
    """Return the alias that holds our tables; None while the settings name none, which is said elsewhere."""
    try:
        alias = settings().database
    except ImproperlyConfigured:
        return None
    return alias if alias in django_settings.DATABASES else None

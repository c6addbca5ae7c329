"""All six packages in one project, with our backend as its default."""

from tests.compatibility.settings import *  # noqa: F403
from tests.compatibility.settings import INSTALLED_APPS

INSTALLED_APPS = [
    "tests.compatibility.consumers",
    "crontask",
    "django_periodic_tasks",
    "django_scheduled_tasks",
    "django_taskly",
    "maintenance_tasks",
    "tasks_monitor",
    *INSTALLED_APPS,
]
ROOT_URLCONF = "tests.compatibility.consumers.urls"
MAINTENANCE_TASKS = {"MAX_RUNTIME": 0}

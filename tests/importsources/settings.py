"""The settings of the tests, with those of the three packages that are installed."""

from importlib.util import find_spec

from tests.taskapp.settings import *  # noqa: F403
from tests.taskapp.settings import INSTALLED_APPS, TASKS

PACKAGES = [name for name in ("django_celery_beat", "django_q", "django_tasks_db") if find_spec(name)]
INSTALLED_APPS = [*INSTALLED_APPS, *PACKAGES]

Q_CLUSTER = {"name": "shop", "orm": "default", "time_zone": "Europe/Berlin", "timeout": 60, "retry": 120}

if "django_tasks_db" in PACKAGES:
    TASKS = {**TASKS, "theirs": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []}}

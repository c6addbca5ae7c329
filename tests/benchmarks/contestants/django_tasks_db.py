"""django-tasks-db, the reference backend of Django's Tasks."""

from __future__ import annotations

from importlib.util import find_spec

from .base import TasksContestant, module

# Before Django 6.0 the Tasks framework is an app of its own.
FRAMEWORK = "django.tasks" if find_spec("django.tasks") else "django_tasks"


class DjangoTasksDB(TasksContestant):
    name = "django-tasks-db"
    guarantee = "At most once after the start: a task whose worker dies stays marked as running for good."
    configuration = (
        "db_worker --interval 0.1 (1 s by default), --no-startup-delay. No call enqueues many: a loop in one "
        "transaction."
    )
    needs = ("django_tasks_db", FRAMEWORK)
    distribution = "django-tasks-db"
    backend = "django_tasks_db.DatabaseBackend"
    apps = ("django_tasks_db",) if FRAMEWORK == "django.tasks" else (FRAMEWORK, "django_tasks_db")
    table = "django_tasks_database_dbtaskresult"
    unsettled_sql = f"SELECT count(*) FROM {table} WHERE status IN ('READY', 'RUNNING')"

    def __init__(self, engine: str) -> None:
        self.engine = engine

    def worker(self, url: str, *, workload: str) -> list[str]:
        return module("django", "db_worker", "--interval", "0.1", "--no-startup-delay")

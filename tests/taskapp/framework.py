"""The names of the task framework that only tests need: from django.tasks, or its backport on Django 5.2."""

from importlib import import_module
from importlib.util import find_spec

import django

NAME = "django.tasks" if find_spec("django.tasks") else "django_tasks"
# @task(...) of Django 6.0 takes no options of a backend.
TAKES_OPTIONS = django.VERSION[:2] != (6, 0)

task = import_module(NAME).task
default_task_backend = import_module(NAME).default_task_backend
TaskResultMismatch = import_module(f"{NAME}.exceptions").TaskResultMismatch

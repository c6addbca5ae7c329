"""The handlers of every backend of Django's Tasks."""

from __future__ import annotations

from typing import Any

try:
    from django.tasks import task
except ImportError:  # before Django 6.0
    from django_tasks import task

from tests.benchmarks import tally


@task
def noop(payload: dict[str, Any]) -> None:
    tally.handled()


@task
def ping(payload: dict[str, Any]) -> None:
    tally.picked_up(payload["sent"])

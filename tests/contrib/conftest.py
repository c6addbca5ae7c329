"""Fixtures of the tests of optional apps."""

from __future__ import annotations

import pytest

from django_letsgo_worker.contrib.celery import Celery
from django_letsgo_worker.contrib.celery import app as celery_apps


@pytest.fixture
def celery_app(own_registry: None, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """A Celery app that reads CELERY_... of Django's settings; it is forgotten behind the test."""
    monkeypatch.setattr(celery_apps, "_apps", [])
    made = Celery("tests")
    made.config_from_object("django.conf:settings", namespace="CELERY")
    return made

"""Fixtures of the tests of `letsgo import`."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.taskapp import TASKS


@pytest.fixture
def our_tasks(settings: Any, own_registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app with tasks is installed and our backend named, and nobody has imported the tasks."""
    settings.TASKS = TASKS
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.taskapp"]
    monkeypatch.delitem(sys.modules, "tests.taskapp.tasks", raising=False)

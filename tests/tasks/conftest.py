"""Fixtures of the tests of tasks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.taskapp import TASKS


@pytest.fixture
def our_tasks(settings: Any, own_registry: None) -> None:
    """Tasks are ours, and no handler is known but those that a test enqueues for."""
    settings.TASKS = TASKS

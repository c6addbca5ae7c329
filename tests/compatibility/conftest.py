"""Fixtures of all projects here: processes of the project that is tested, and a worker's one turn."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest

from tests.support import Managed


@pytest.fixture
def manage(manage: Callable[..., Managed]) -> Callable[..., Managed]:
    """Start a manage.py of the project whose settings the tests run under."""
    return partial(manage, settings_module=os.environ["DJANGO_SETTINGS_MODULE"])


@pytest.fixture
def work(manage: Callable[..., Managed]) -> Callable[..., None]:
    """Let a worker, a process of its own, handle all that is due; `settings_module` names other settings."""

    def until_empty(**options: str) -> None:
        worker = manage("runworker", "--until-empty", **options)
        assert worker.wait(60) == 0, worker.output

    return until_empty

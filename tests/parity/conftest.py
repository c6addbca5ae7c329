"""Fixtures of the rows: handlers for one test, workers in this process and beside it, outcomes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command

from django_letsgo_worker import registry
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import Managed, wait_until

SETTINGS = "tests.testapp.settings"


@pytest.fixture
def handle() -> Iterator[Callable[..., Any]]:
    """Register a function for the time of one test: @handle("t:x", max_attempts=3)."""
    before = {type: list(those) for type, those in registry._handlers.items()}
    yield registry.handler
    registry._handlers.clear()
    registry._handlers.update(before)


@pytest.fixture
def work_off(transactional_db: None) -> Callable[..., None]:
    """Run a worker until nothing is due any more."""

    def work(**options: Any) -> None:
        call_command("runworker", until_empty=True, stderr=io.StringIO(), **options)

    return work


@pytest.fixture
def ended(work_off: Callable[..., None]) -> Callable[[Message], ArchivedMessage]:
    """Run workers until a message is archived, and return it."""

    def look(message: Message, **options: Any) -> ArchivedMessage | None:
        work_off(**options)
        return ArchivedMessage.objects.filter(pk=message.pk).first()

    return lambda message, **options: wait_until(
        lambda: look(message, **options), step=0.05, what=f"the end of message {message.pk}"
    )


@pytest.fixture
def worker(manage: Callable[..., Managed]) -> Callable[..., Managed]:
    """Start a worker process that knows the handlers of the test app; its leases hold for a second."""

    def start(*arguments: object, **env: str) -> Managed:
        env = {"LETSGO_WORKER_LEASE_SECONDS": "1", **env}
        return manage("runworker", "--no-reload", *arguments, settings_module=SETTINGS, env=env)

    return start

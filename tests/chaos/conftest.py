"""Fixtures of the chaos: a fleet of workers that is killed, stopped and started again."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import Managed, wait_until


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Choose the seed of all chance in a test, and print it; CHAOS_SEED repeats a run."""
    number = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"seed {number} of {request.node.name}: CHAOS_SEED={number}")
    random.seed(number)
    return number


@pytest.fixture
def chaos_seconds() -> float:
    """How long faults are injected; CHAOS_SECONDS lengthens it."""
    return float(os.environ.get("CHAOS_SECONDS", "8"))


class Fleet:
    """Worker processes on the test app; settings are LETSGO_WORKER_<NAME>.

    `without` takes a guard away, `kill_at` names a point at which a worker kills itself.
    """

    def __init__(self, manage: Callable[..., Managed]) -> None:
        self._manage = manage
        self.workers: list[Managed] = []

    def start(
        self, *arguments: object, without: str = "", kill_at: str = "", url: str = "", **settings: Any
    ) -> Managed:
        env = {f"LETSGO_WORKER_{name}": str(value) for name, value in settings.items()}
        env |= {"TESTAPP_WITHOUT": without, "TESTAPP_KILL_AT": kill_at} | (
            {"DATABASE_URL": url} if url else {}
        )
        worker = self._manage("runworker", *arguments, env=env, settings_module="tests.testapp.settings")
        self.workers.append(worker)
        return worker

    def stop(self) -> list[int]:
        """Drain all; return their exit codes."""
        for worker in self.workers:
            worker.terminate()
        return [worker.wait() for worker in self.workers]

    def wait_until_all_is_done(self, messages: int, timeout: float = 50.0) -> None:
        wait_until(
            lambda: not Message.objects.exists() and ArchivedMessage.objects.count() == messages,
            timeout=timeout,
            step=0.1,
            what=f"the end of all {messages} messages",
        )


@pytest.fixture
def fleet(manage: Callable[..., Managed]) -> Iterator[Fleet]:
    yield Fleet(manage)

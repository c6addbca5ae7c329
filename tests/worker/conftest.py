"""Fixtures of the worker's tests: handlers for one test, a worker on threads of this process, outcomes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.testing import drain
from django_letsgo_worker.worker import Options, Worker, lanes, turns
from tests.support import PATIENCE, wait_until

SETTINGS = "tests.testapp.settings"


class WorkerThread:
    """A worker on a thread of this process."""

    def __init__(self, options: Options) -> None:
        self.worker = Worker(options)
        self.clean: bool | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.clean = self.worker.run()
        finally:
            connections.close_all()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Drain, and wait for the end; when something hangs, cut it short."""
        self.worker.stopping.set()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self.worker.hurrying.set()
            self._thread.join(PATIENCE)

    def join(self) -> bool | None:
        """Wait for the end; return whether the drain was clean."""
        self._thread.join(PATIENCE)
        assert self.is_over, f"The worker still works: {self.worker.inflight}"
        return self.clean


@pytest.fixture
def start_worker(transactional_db: None) -> Iterator[Callable[..., WorkerThread]]:
    """Start a worker in this process; it ends with the test."""
    started: list[WorkerThread] = []

    def start(**options: Any) -> WorkerThread:
        options = {"seats": 2, "lease_seconds": 30.0, "drain_seconds": 5.0, "poll_seconds": 0.2, **options}
        started.append(WorkerThread(Options(**options)))
        return started[-1]

    yield start
    for thread in started:
        thread.stop()


@pytest.fixture
def work_off(start_worker: Callable[..., WorkerThread]) -> Callable[..., None]:
    """Handle all that is due in this process, one message after the other, and return."""

    def work(**options: Any) -> None:
        start_worker(**{"seats": 1, "until_empty": True, **options}).join()

    return work


@pytest.fixture(params=["worker", "drain", "drain in a transaction"])
def work(request: pytest.FixtureRequest, work_off: Callable[..., None]) -> Callable[[], Any]:
    """Handle what is due: by a worker, or by testing.drain()."""

    def drain_in_a_transaction() -> None:
        with transaction.atomic():
            drain()

    ways = {"worker": work_off, "drain": drain, "drain in a transaction": drain_in_a_transaction}
    return ways[request.param]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The process's own clock, as its lanes see it: it stands until the test moves it."""
    clock = SimpleNamespace(seconds=1000.0)
    clock.monotonic = lambda: clock.seconds
    for module in (lanes, turns):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def ended(transactional_db: None) -> Callable[[Message], ArchivedMessage]:
    """Wait until a message is archived, and return it."""

    def wait(message: Message) -> ArchivedMessage:
        return wait_until(
            lambda: ArchivedMessage.objects.filter(pk=message.pk).first(),
            what=f"the end of {message}: {Message.objects.filter(pk=message.pk).values().first()}",
        )

    return wait


@pytest.fixture
def outcome_of(
    handle: Callable[..., Any], work_off: Callable[..., None]
) -> Callable[..., ArchivedMessage | Message]:
    """Run one message by a function, and return its row: archived, or live again."""

    def run(function: Any, payload: Any = None, *, max_attempts: int = 3, **options: Any) -> Any:
        handle("t:it", backoff=[3600], **options)(function)
        message = enqueue("t:it", payload, max_attempts=max_attempts)
        work_off()
        archived = ArchivedMessage.objects.filter(pk=message.pk).first()
        return archived or Message.objects.get(pk=message.pk)

    return run


USED = pytest.param("used", marks=pytest.mark.fastpath)


@pytest.fixture(params=["new", USED] if connection.vendor == "postgresql" else ["new"])
def connection_is(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On PostgreSQL a connection that was used before is spoken to in another way: have a test see both."""
    if connection.vendor == "postgresql":
        from django_letsgo_worker.engines.postgresql import fastpath

        monkeypatch.setattr(fastpath, "PREPARED_FROM", 1 if request.param == "used" else 10**9)
    return str(request.param)

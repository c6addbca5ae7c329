"""Takes one guard out of the worker, so that a test can show that without it the invariant breaks.

Only processes that a test starts with TESTAPP_WITHOUT=<guard> in their environment come here, or with
TESTAPP_KILL_AT=<point>: those kill themselves there.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import connection

from django_letsgo_worker.engines import Engine, engine_on
from django_letsgo_worker.engines.base import TABLE
from django_letsgo_worker.outcomes import SUCCEEDED
from django_letsgo_worker.worker.events import Events
from django_letsgo_worker.worker.executor import _AtomicRun


def switch_off(guard: str) -> None:
    {
        "the claim's lock": without_the_lock_of_the_claim,
        "the fence": without_the_fence,
        "the count at the claim": without_the_count_at_the_claim,
        "the transaction": without_the_transaction,
        "doubt about commits": without_doubt_about_commits,
        "lonely suspects": without_lonely_suspects,
        "one transaction for deaths": without_one_transaction_for_deaths,
        "the fast path": without_the_fast_path,
        "the progress of operations": without_the_progress_of_operations,
        "the notice of silence": without_the_notice_of_silence,
    }[guard](type(engine_on(connection)))


def without_the_lock_of_the_claim(engine: type[Engine]) -> None:
    if connection.vendor == "sqlite":
        # There the transaction is the lock.
        engine.transaction = lambda self: contextlib.nullcontext()  # type: ignore[method-assign]
    elif connection.vendor == "mysql":
        engine.dialect = replace(engine.dialect, locking="")
    else:
        _rewrite(engine, lambda sql: sql.replace("FOR UPDATE SKIP LOCKED", ""))


def without_the_fence(engine: type[Engine]) -> None:
    if connection.vendor == "postgresql":
        _rewrite(
            engine,
            lambda sql: sql.replace("AND m.receipt = s.receipt", "").replace(
                "AND m.leased_by = %(process)s", "AND %(process)s::uuid IS NOT NULL"
            ),
        )
        return

    def lock_all(
        self: Any, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False
    ) -> list[Any]:
        these, params = self.dialect.among([id for id, _ in leases])
        rows = self.execute(
            f"SELECT id, deadline, {self.dialect.clock} FROM {TABLE} WHERE id {these}",
            {**params, "now": self.dialect.now_param(None)},
        )
        read = self.dialect.read_moment
        return [(id, read(until), read(now)) for id, until, now in rows]

    engine.lock_held = lock_all  # type: ignore[method-assign]


def without_the_count_at_the_claim(engine: type[Engine]) -> None:
    _rewrite(
        engine,
        lambda sql: sql.replace("attempts = m.attempts + 1", "attempts = m.attempts").replace(
            "attempts = attempts + 1", "attempts = attempts"
        ),
    )


def without_the_transaction(engine: type[Engine]) -> None:
    """Nothing to do here: handlers.py registers no atomic handler then."""


def without_doubt_about_commits(engine: type[Engine]) -> None:
    """Believe that a commit whose answer was lost was carried out."""
    failed = _AtomicRun._failed

    def believe(self: _AtomicRun, error: BaseException) -> Any:
        outcome, settled = failed(self, error)
        return (SUCCEEDED, False) if outcome.name == "unknown" else (outcome, settled)

    _AtomicRun._failed = believe  # type: ignore[method-assign]


def without_lonely_suspects(engine: type[Engine]) -> None:
    """Run what may kill its workers beside its neighbours."""
    from django_letsgo_worker.engines import records

    records._is_suspect = lambda *facts: False  # type: ignore[assignment]
    if connection.vendor == "postgresql":
        from django_letsgo_worker.engines.postgresql.claim import CLAIMING

        is_suspect = "attempts < max_attempts AND (deaths >= 2"
        assert is_suspect in CLAIMING
        _rewrite(engine, lambda sql: sql.replace(is_suspect, "FALSE AND (deaths >= 2"))


def without_one_transaction_for_deaths(engine: type[Engine]) -> None:
    """Enqueue what follows a death once that is committed, as a receiver of message_died would."""
    from django_letsgo_worker import enqueue
    from django_letsgo_worker.signals import message_died

    engine.settle_more = lambda *arguments: None  # type: ignore[method-assign]

    def follow(message_id: int, **facts: Any) -> None:
        enqueue("work:mourn", {"message": message_id})

    message_died.connect(follow, weak=False)


def without_the_progress_of_operations(engine: type[Engine]) -> None:
    """Keep in memory how far a bulk operation is: its row says nothing to whoever follows."""
    from django_letsgo_worker.messages.working_off import _Batch

    lock, note, kept = _Batch._lock, _Batch._note_progress, dict[int, dict[str, Any]]()
    progress = ("last_id", "last_at", "done", "skipped")

    def lock_and_recall(self: _Batch) -> Any:
        operation = lock(self)
        if operation is not None:
            known = kept.get(operation.pk, {"last_id": 0, "last_at": None, "done": 0, "skipped": 0})
            for name, value in known.items():
                setattr(operation, name, value)
        return operation

    def note_in_memory(self: _Batch, last: Any) -> None:
        note(self, last)
        kept[self.operation.pk] = {name: getattr(self.operation, name) for name in progress}

    _Batch._lock = lock_and_recall  # type: ignore[method-assign]
    _Batch._note_progress = note_in_memory  # type: ignore[method-assign]


def without_the_notice_of_silence(engine: type[Engine]) -> None:
    """Wait for a side that is gone without a word for as long as the systems of both do."""
    from django_letsgo_worker.engines.postgresql import silence

    silence.notice = lambda connection: None


def without_the_fast_path(engine: type[Engine]) -> None:
    """No guard, but what every promise must hold without: pytest --without-fastpath."""
    from django_letsgo_worker.engines.postgresql import fastpath

    fastpath.enabled = False


def kill_at(point: str) -> None:
    """Have this process kill itself at a point of its first death."""
    engine = type(engine_on(connection))
    follow, died = engine.settle_more, Events._died

    def kill_when_following(self: Any, settlements: Any, written: dict[int, str], now: Any) -> None:
        dies = "dead" in written.values()
        if dies and point == "the death is written":
            os.kill(os.getpid(), signal.SIGKILL)
        follow(self, settlements, written, now)
        if dies and point == "its follower is written":
            os.kill(os.getpid(), signal.SIGKILL)

    def kill_when_told(self: Any, *facts: Any) -> None:
        if point == "both are committed":
            os.kill(os.getpid(), signal.SIGKILL)
        died(self, *facts)

    engine.settle_more = kill_when_following  # type: ignore[method-assign]
    Events._died = kill_when_told  # type: ignore[method-assign]


def _rewrite(engine: type[Engine], change: Callable[[str], str]) -> None:
    execute = engine.execute

    def changed(self: Engine, sql: str, params: dict[str, Any]) -> list[Any]:
        return execute(self, change(sql), params)

    engine.execute = changed  # type: ignore[method-assign]

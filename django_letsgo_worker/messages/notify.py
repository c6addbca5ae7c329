"""Telling idle workers that a lane has work, at the right moment of the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections, transaction

from ..engines import engine_for


@dataclass(frozen=True, slots=True)
class _Nudge:
    """What on_commit calls: look again whether a worker waits for this lane, and tell it."""

    alias: str
    queue: str
    priority: int

    def __call__(self) -> None:
        engine_for(self.alias).notify(self.queue, self.priority)


def notify(alias: str, queue: str, priority: int) -> None:
    if connections[alias].in_atomic_block:
        notify_on_commit(alias, queue, priority)
    else:
        engine_for(alias).notify(queue, priority)


def notify_on_commit(alias: str, queue: str, priority: int) -> None:
    """Inside a transaction the INSERT saw who waited then; look once more when it commits."""
    connection = connections[alias]
    if connection.vendor != "postgresql" or not connection.in_atomic_block:
        return
    call = _Nudge(alias, queue, priority)
    last = connection.run_on_commit[-1:]
    if not last or last[0][1] != call or last[0][0] != set(connection.savepoint_ids):
        transaction.on_commit(call, using=alias, robust=True)

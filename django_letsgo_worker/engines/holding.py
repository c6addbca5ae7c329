"""What an atomic handler runs in: its message locked under the guard, and a savepoint behind the lock.

The transaction around both, and what becomes of the message, are the worker's.
"""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from uuid import UUID

from django.db import transaction

from .base import Engine
from .rows import Settlement


class Hold:
    """Open it, run the handler `with` it, settle; in this order, inside one transaction.

    An error that leaves the block rolls back to the savepoint; the message stays locked.
    """

    def __init__(self, engine: Engine, process: UUID, lease: tuple[int, int]) -> None:
        self.engine = engine
        self.process = process
        self.lease = lease
        self.savepoint = transaction.atomic(using=engine.connection.alias)

    def open(self) -> bool:
        """Lock the message, and set the savepoint; False, and nothing is set, when the lease is not held."""
        if not self.engine.lock_held(self.process, [self.lease], wait=True):
            return False
        self.savepoint.__enter__()
        return True

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.savepoint.__exit__(kind, error, trace)

    def settle(
        self, settlement: Settlement, *, keep: frozenset[str], now: datetime | None = None
    ) -> dict[int, str]:
        """Write what became of the message, as Engine.settle()."""
        return self.engine.settle_locked(self.process, settlement, keep=keep, now=now)

"""The scope of an atomic handler: its message locked under the guard, and a savepoint behind the lock.

The transaction around both, and what becomes of the message, are the worker's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from uuid import UUID

from django.db import transaction

from .base import Engine
from .cursors import has_own_cursors
from .records import Settlement
from .sessions import SessionWatch, watch_of


class AtomicScope:
    """Open it, run the handler `with` it, settle; in this order, inside one transaction.

    An error that leaves the block rolls back to the savepoint; the message stays locked.
    """

    def __init__(self, engine: Engine, process: UUID, lease: tuple[int, int]) -> None:
        self.engine = engine
        self.process = process
        self.lease = lease
        self.savepoint = transaction.atomic(using=engine.connection.alias)
        self._watch: SessionWatch | None = None
        self._put_back_session: Callable[[], object] = lambda: None

    def open(self) -> bool:
        """Lock the message, and set the savepoint; False, and nothing is set, when the lease is not held."""
        if not self.engine.lock_held(self.process, [self.lease], wait=True):
            return False
        self.savepoint.__enter__()
        self.mind_session()
        return True

    def mind_session(self) -> None:
        """Have the settings put back before the settlement, should the handler change any."""
        self._watch = watch_of(self.engine.connection)
        if self._watch is not None and not has_own_cursors(self.engine.connection):
            self._watch.before_change = self._remember_session

    def _remember_session(self) -> None:
        self._put_back_session = self.engine.remember_session()

    def end_session(self) -> None:
        """Put back what the handler set: our tables may be out of its sight."""
        if self._watch is not None:
            self._watch.before_change = None
        self._put_back_session()

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
        self.end_session()
        return self.engine.settle_locked(self.process, settlement, keep=keep, now=now)

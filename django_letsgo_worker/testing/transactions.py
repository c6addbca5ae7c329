"""The transactions of the caller around a delivery, inside which code runs that expects autocommit.

Nothing here knows which message runs, or what becomes of it.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import ExitStack
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from ..errors import LetsGoError
from ..worker import executor, isolation
from ..worker.inflight import InFlight

logger = logging.getLogger("django_letsgo_worker.testing")

BROKEN = (
    "The handler went on after a database error, or left a transaction open, and here all of it runs inside "
    "the test's own transaction: put what may fail into transaction.atomic(), or use a TransactionTestCase."
)
ENDED = (
    "The handler of message {id} ({type}) closed the connection of its test, or ended the transaction that "
    "the test runs in: use a TransactionTestCase for it."
)


class Surroundings:
    """The connections as they were before a delivery: inside a transaction of the caller, or not."""

    def __init__(self) -> None:
        self._inside = [one for one in connections.all(initialized_only=True) if one.in_atomic_block]
        self._blocks = [(list(one.savepoint_ids), list(one.atomic_blocks)) for one in self._inside]

    def wrap(self, call: executor.Call, but_for: str | None) -> executor.Call:
        """Put a savepoint around the call in each of the caller's transactions; `but_for` names an alias."""

        def called(entry: InFlight) -> Any:
            with ExitStack() as savepoints:
                for connection in self._inside:
                    if connection.alias != but_for:
                        savepoints.enter_context(Savepoint(connection))
                return call(entry)

        return called

    def restore(self, entry: InFlight) -> None:
        """Tidy up the connections that were in autocommit; LetsGoError if a caller's transaction is gone."""
        for connection in connections.all(initialized_only=True):
            if connection not in self._inside:
                _tidy(connection)
        if any(_has_ended(connection) for connection in self._inside):
            for connection, blocks in zip(self._inside, self._blocks, strict=True):
                _let_the_caller_leave(connection, *blocks)
            error = entry.outcome.exception if entry.outcome else None
            raise LetsGoError(ENDED.format(id=entry.claimed.id, type=entry.claimed.type)) from error


def _let_the_caller_leave(connection: BaseDatabaseWrapper, savepoints: list[Any], blocks: list[Any]) -> None:
    """Turn a transaction that is gone into one that was closed early, whose blocks can still be left."""
    if _has_ended(connection):
        connection.in_atomic_block = connection.closed_in_transaction = connection.needs_rollback = True
        connection.savepoint_ids, connection.atomic_blocks = savepoints, blocks


def _tidy(connection: BaseDatabaseWrapper) -> None:
    # The log of queries is the test's, which may be counting them.
    connection.queries_log, log = deque(), connection.queries_log
    isolation.tidy(connection)
    if connection.vendor == "sqlite" and connection.connection is not None:
        # One in memory is never closed.
        connection.rollback()
        connection.set_autocommit(True)
    connection.queries_log = log


class Savepoint:
    """A savepoint around code that expects autocommit: what it wrote before it failed stays, if possible.

    The callbacks on commit are run at its end; one that fails is a failure of the code.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.depth = len(connection.savepoint_ids), len(connection.atomic_blocks)
        self.registered = len(connection.run_on_commit)

    def __enter__(self) -> None:
        self.name: Any = self.connection.savepoint()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        is_broken = self._is_broken()
        if is_broken:
            self._roll_back()
        self.connection.savepoint_commit(self.name)
        failure = run_callbacks(self.connection, self.registered)
        if error is not None:
            return
        if is_broken:
            raise TransactionManagementError(BROKEN)
        if failure is not None:
            raise failure

    def _is_broken(self) -> bool:
        left_open = len(self.connection.savepoint_ids) > self.depth[0]
        return left_open or self.connection.needs_rollback or not self.connection.is_usable()

    def _roll_back(self) -> None:
        connection = self.connection
        del connection.savepoint_ids[self.depth[0] :], connection.atomic_blocks[self.depth[1] :]
        del connection.run_on_commit[self.registered :]
        connection.needs_rollback = False
        connection.savepoint_rollback(self.name)


def _has_ended(connection: BaseDatabaseWrapper) -> bool:
    return connection.closed_in_transaction or not connection.in_atomic_block


def run_callbacks(connection: BaseDatabaseWrapper, since: int) -> BaseException | None:
    """Run, once, the callbacks on commit behind the first `since` ones; return what ended that early."""
    while len(connection.run_on_commit) > since:
        _, callback, robust = connection.run_on_commit.pop(since)  # type: ignore[misc]
        try:
            callback()
        except BaseException as error:
            if not (robust and isinstance(error, Exception)):
                del connection.run_on_commit[since:]
                return error
            logger.exception("A robust callback on commit failed.")
    return None

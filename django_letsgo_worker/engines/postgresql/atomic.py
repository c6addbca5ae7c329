"""An atomic handler's hold in two trips to the server instead of five, where the connection allows it."""

from __future__ import annotations

import sys
from datetime import datetime
from types import TracebackType
from typing import Any
from weakref import WeakSet

import psycopg
from django.db import ProgrammingError

from ...models import CLOCK_SQL
from ..atomic import AtomicScope
from ..records import Settlement
from .cursor import plus_sql
from .fastpath import send
from .settle import LOCK_ONE, SETTLE_ONE

NAMED = {"id": "$1", "receipt": "$2", "process": "$3"}
# A success of which there is nothing to say but its times: no text of a handler is ever part of these.
DONE = {
    **NAMED, "kept": "$4", "seconds": "$6", "attempts": "NULL", "errors": "NULL", "result": "NULL",
    "outcome": "'succeeded'", "class": "''", "fingerprint": "''",
}  # fmt: skip
CLOCK = CLOCK_SQL["postgresql"]
PREPARE = (
    f"PREPARE letsgo_lock (bigint, bigint, uuid) AS {LOCK_ONE % NAMED}",
    "PREPARE letsgo_done (bigint, bigint, uuid, boolean, bigint, float8) AS "
    + SETTLE_ONE.format(clock=CLOCK, started=plus_sql(CLOCK, "$5")) % DONE,
)

# Connections on which that was done.
_prepared: WeakSet[psycopg.Connection[Any]] = WeakSet()


class BundledAtomicScope(AtomicScope):
    """BEGIN, lock and savepoint at once; the end of the savepoint is left to the commit."""

    # The statement about the savepoint that Django was about to send.
    kept_back = ""

    def open(self) -> bool:
        with self.engine.connection.execute_wrapper(self._keep_back):
            self.savepoint.__enter__()
        lock = f"EXECUTE letsgo_lock ({self._lease})"
        raw = self.engine.connection.connection
        try:
            if raw not in _prepared:
                send(self.engine.connection, *PREPARE)
                _prepared.add(raw)
            # The answer is the last statement's, so the lock is asked for again.
            is_held = self._finds("BEGIN", lock, self.kept_back, lock, back="ROLLBACK")
        except BaseException:
            self.savepoint.__exit__(*sys.exc_info())
            raise
        if not is_held:
            self.savepoint.__exit__(None, None, None)
        self.mind_session()
        return is_held

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            super().__exit__(kind, error, trace)
            return
        with self.engine.connection.execute_wrapper(self._keep_back):
            super().__exit__(None, None, None)

    def settle(
        self, settlement: Settlement, *, keep: frozenset[str], now: datetime | None = None
    ) -> dict[int, str]:
        if now is not None or not settlement.is_plain:
            return super().settle(settlement, keep=keep, now=now)
        self.end_session()
        ago, seconds = settlement.started_seconds_ago, settlement.seconds
        started = "NULL" if ago is None else -self.engine.amount(ago)
        times = f"{started}, {'NULL' if seconds is None else repr(seconds)}"
        done = f"EXECUTE letsgo_done ({self._lease}, {settlement.outcome in keep}, {times})"
        # With a savepoint: what the handler wrote must survive a statement that is not there any more.
        is_ours = self._finds("SAVEPOINT letsgo", done, back="ROLLBACK TO SAVEPOINT letsgo")
        return {settlement.id: settlement.outcome} if is_ours else {}

    @property
    def _lease(self) -> str:
        id, receipt = self.lease
        return f"{id:d}, {receipt:d}, '{self.process}'"

    def _keep_back(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> None:
        self.kept_back = sql

    def _finds(self, *statements: str, back: str) -> bool:
        """Send statements in one piece; return whether the last one finds a row.

        What they execute may be prepared no more, since a rollback makes the driver discard all that is.
        Then go `back`, prepare it and send them again.
        """
        connection = self.engine.connection
        try:
            return bool(send(connection, *statements).ntuples)
        except ProgrammingError as error:
            if not isinstance(error.__cause__, psycopg.errors.InvalidSqlStatementName):
                raise
        send(connection, back)
        send(connection, *PREPARE)
        return bool(send(connection, *statements).ntuples)

"""What every engine can do, and the parts that are the same on all of them.

One instance speaks through one Django connection. No thread, no decision about messages.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction

from ..models import ArchivedMessage, Message, Queue
from .rows import LOOK_PAST, Claim, ClaimRequest, Inserted, Lane, NewRow, Settlement
from .words import Words

TABLE = Message._meta.db_table
ARCHIVE = ArchivedMessage._meta.db_table
# Whether the queue that `name` says is paused.
IS_PAUSED = f"EXISTS (SELECT 1 FROM {Queue._meta.db_table} WHERE name = {{name}} AND paused_at IS NOT NULL)"


class Engine(Words):
    """One database, told through one connection. Instances are cheap and hold no state."""

    display_name = "?"
    # Whether SELECT ... FOR UPDATE SKIP LOCKED exists.
    skip_locked = True
    # Whether UPDATE ... RETURNING exists.
    can_return_updated = True
    # The default of POLL_SECONDS.
    poll_seconds = 1.0
    # How many rows insert_many() takes at once.
    chunk = 500
    # Whether listen() hears of new messages.
    can_listen = False
    # A lapsed lease is taken this many leases after it lapsed.
    lapse_grace = 0.0

    # -- statements ----------------------------------------------------------------------------------

    def execute(self, sql: str, params: dict[str, Any]) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    def clock(self) -> datetime:
        """Return the database's clock."""
        moment = self.read_moment(self.execute(f"SELECT {self.now_sql(None)}", {})[0][0])
        assert moment is not None
        return moment

    def transaction(self) -> AbstractContextManager[None]:
        """One transaction, or a savepoint inside the one that is open."""
        return transaction.atomic(using=self.connection.alias)

    # -- faults, told apart by code, never by text -----------------------------------------------------

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same statement may succeed at once: deadlock, serialization, locked."""
        raise NotImplementedError

    def is_outage(self, error: BaseException) -> bool:
        """Whether the connection or the server is to blame."""
        return isinstance(error, (OperationalError, InterfaceError)) and not self.is_transient(error)

    def is_missing_table(self, error: BaseException) -> bool:
        raise NotImplementedError

    # -- what differs -----------------------------------------------------------------------------------

    def prepare_own_connection(self) -> None:
        """Set up a connection that only the queue uses."""

    def begin_round(self) -> None:
        """Called first in each of a worker's transactions."""

    def insert(self, row: NewRow, now: datetime | None = None) -> Inserted | None:
        """Insert one message in one statement; None when a live twin has its unique key."""
        raise NotImplementedError

    def insert_many(self, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
        """Insert messages without unique keys; return their ids in order."""
        raise NotImplementedError

    def has_leftovers(self) -> bool:
        """Whether a handler left a transaction or a setting behind here, out of Django's sight."""
        raise NotImplementedError

    def cut_line(self) -> None:
        """End a transaction from another thread, so that what it locks is free; its code can do no more."""

    def data_version(self) -> int | None:
        """Return what changes when another connection has written, where that can be had cheaply."""
        return None

    def listen(self, stopping: threading.Event, heard: Callable[[], None]) -> Iterator[tuple[str, int]]:
        """Yield the lanes that have work as they are named; `heard` is called once it listens."""
        raise NotImplementedError

    def nudge(self, queue: str, priority: int) -> None:
        """Tell idle workers that a lane has work, where that is possible."""

    def set_waiting(self, queues: Iterable[str], waiting: bool) -> None:
        """Say whether idle workers wait for these queues, where anybody asks."""

    def lanes(
        self,
        *,
        waiting: bool = False,
        queues: Sequence[str] | None = None,
        marked: Sequence[Lane] | None = None,
    ) -> list[Lane]:
        """Return all lanes that have messages, each with its earliest visible_at, paused ones too.

        `waiting` says that the caller rests after this look, for these queues (None: all). With `marked`
        it is enough to look at these lanes, from their visible_at on.
        """
        raise NotImplementedError

    def lock_held(self, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False) -> list[Any]:
        """Lock those of the (id, receipt) pairs that the process holds: rows of (id, deadline, clock)."""
        raise NotImplementedError

    @property
    def exchanges_alone(self) -> bool:
        """Whether exchange() is one statement, and so needs no transaction around it."""
        return False

    def claim(self, request: ClaimRequest) -> Claim:
        """Take due messages of one lane, past unknown types too; call it inside a transaction."""
        claim = self.claim_within(request, request.limit)
        further = self.claim_further(request, claim)
        if further is not None:
            claim.rows += further.rows
            claim.unknown |= further.unknown
            claim.looked, claim.looked_until = further.looked, further.looked_until
        return claim

    def exchange(
        self, process: UUID, settlements: Sequence[Settlement], keep: frozenset[str], request: ClaimRequest
    ) -> tuple[dict[int, str], Claim]:
        """Settle, and claim among the first rows of a lane. What it settles, it does not claim."""
        return self.settle(process, settlements, keep=keep), self.claim_within(request, request.limit)

    def claim_further(self, request: ClaimRequest, claim: Claim) -> Claim | None:
        """Complete a claim whose lane began with types that this process does not know.

        It looks once more and further, ten times its limit at the most; `looked_until` says where the
        next claim may begin. None when there is no need.
        """
        stopped = any(row.is_suspect for row in claim.rows) or len(claim.rows) == request.limit
        if not claim.unknown or stopped or claim.looked < request.limit:
            claim.looked_until = None
            return None
        window = LOOK_PAST * request.limit
        rest = replace(request, taken=len(claim.rows))
        further = self.claim_within(rest, window)
        if not further.rows and further.looked == window and further.looked_until == request.start_at:
            # All of the window became visible at one moment, so the next claim would begin with the same
            # rows: search for known types only, however far that is.
            further = self.claim_within(replace(rest, known_only=True), request.limit)
        if further.looked < window:
            further.looked_until = None
        return further

    def claim_within(self, request: ClaimRequest, window: int) -> Claim:
        """Claim among the first `window` due rows of the lane; none while its queue is paused."""
        raise NotImplementedError

    def settle(
        self,
        process: UUID,
        settlements: Sequence[Settlement],
        *,
        keep: frozenset[str],
        now: datetime | None = None,
    ) -> dict[int, str]:
        """Write what became of messages, under the guard (id, receipt, leased_by); inside a transaction.

        Returns the outcome of each id that was written. Outcomes not in `keep` leave no archived row. What
        is to follow a death is enqueued here.
        """
        raise NotImplementedError

    def settle_more(
        self, settlements: Sequence[Settlement], written: dict[int, str], now: datetime | None
    ) -> None:
        """Write what few settlements bring along, in the same transaction: followers, and new limits."""
        more = [s for s in settlements if s.has_more and s.id in written]
        if not more:
            return
        assert self.connection.in_atomic_block
        followers = [row for s in more if written[s.id] == "dead" for row in s.on_dead]
        if followers:
            self.insert_many(followers, now)
        for settlement in more:
            if settlement.max_attempts is not None and written[settlement.id] == "again":
                self.execute(
                    f"UPDATE {TABLE} SET max_attempts = %(most)s WHERE id = %(id)s",
                    {"id": settlement.id, "most": settlement.max_attempts},
                )

    def settle_locked(
        self, process: UUID, settlement: Settlement, *, keep: frozenset[str], now: datetime | None = None
    ) -> dict[int, str]:
        """The same for one message that this transaction has locked."""
        return self.settle(process, [settlement], keep=keep, now=now)

    def hold(self, process: UUID, lease: tuple[int, int]) -> Any:
        """Return the Hold that an atomic handler is to run in, inside the transaction that is open."""
        raise NotImplementedError

    def renew(
        self, process: UUID, leases: Sequence[tuple[int, int]], seconds: float, now: datetime | None = None
    ) -> set[int]:
        """Move the leases that are held to at least `seconds` from now; return their ids.

        Rows that somebody has locked are passed over: their own handler's transaction holds them.
        """
        if not leases:
            return set()
        with self.transaction():
            held = [row[0] for row in self.lock_held(process, leases)]
            if held:
                later = self.plus_sql(self.now_sql(now), "%(lease)s")
                these, params = self.among(held)
                # No condition on visible_at: it would invite a search of the whole lane.
                self.execute(
                    f"UPDATE {TABLE} SET visible_at = CASE WHEN visible_at < {later} THEN {later} "
                    f"ELSE visible_at END WHERE id {these}",
                    {**params, "lease": self.amount(seconds), "now": self.moment(now)},
                )
        return set(held)

    def still_held(self, process: UUID, leases: Sequence[tuple[int, int]]) -> set[int]:
        """Return the ids of the leases that the process has, locked or not, without waiting."""
        if not leases:
            return set()
        these, params = self.among([lease[0] for lease in leases])
        rows = self.execute(
            f"SELECT id, receipt FROM {TABLE} WHERE id {these} AND leased_by = %(process)s",
            {**params, "process": self.process(process)},
        )
        return {id for id, receipt in rows if (id, receipt) in set(leases)}

    def among(self, ids: Sequence[int]) -> tuple[str, dict[str, Any]]:
        """Return what follows a column that is one of these, and its parameters."""
        params = {f"id{n}": id for n, id in enumerate(ids)}
        return f"IN ({', '.join(f'%({name})s' for name in params)})", params

    def read_lane(self, row: Sequence[Any]) -> Lane:
        queue, priority, moment, is_paused = row
        return Lane(queue, priority, self.read_moment(moment), bool(is_paused))

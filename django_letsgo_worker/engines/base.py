"""Engine: the face of every database to the rest of the house, and all that is the same on each of them.

One instance speaks through one Django connection. No thread, no decision about messages.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..models import CLOCK_SQL, ArchivedMessage, IdleQueue, Message
from .dialect import Dialect
from .faults import Fault, Refused, code_of
from .pauses import IS_PAUSED, TYPE_GOES_ON
from .records import LOOK_PAST, Claim, Claimed, ClaimRequest, Inserted, Lane, NewRow, Rest, Settlement, cut
from .upkeep import Bloat, Session

TABLE, ARCHIVE, IDLE = (model._meta.db_table for model in (Message, ArchivedMessage, IdleQueue))
# How often a statement is tried again at once after a deadlock or a busy database.
TRIES = 5

T = TypeVar("T")


class Engine:
    """One database, told through one connection. Instances are cheap and hold no state."""

    dialect: Dialect
    display_name = "?"
    # Whether SELECT ... FOR UPDATE SKIP LOCKED exists.
    skip_locked = True
    # Whether UPDATE ... RETURNING exists.
    can_return_updated = True
    # The default of POLL_SECONDS.
    poll_seconds = 1.0
    # How many rows insert_many() takes at once.
    chunk = 500
    # How much text a statement may have, in characters: they take a gigabyte, but what counts is memory.
    most_text = 64 * 1024 * 1024
    # Whether listen() hears of new messages.
    can_listen = False
    # A lapsed lease is taken this many leases after it lapsed.
    lapse_grace = 0.0
    # OPTIONS of a connection that only the queue uses.
    own_options: Mapping[str, str] = {}

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    # -- statements ----------------------------------------------------------------------------------

    def execute(self, sql: str, params: dict[str, Any]) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    @property
    def clock_sql(self) -> str:
        """The database's clock, where a statement has the parameter `now` of its dialect."""
        return CLOCK_SQL[self.connection.vendor]

    def clock(self) -> datetime:
        """Return the database's clock."""
        moment = self.dialect.read_moment(self.execute(f"SELECT {self.clock_sql}", {})[0][0])
        assert moment is not None
        return moment

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """One transaction, or a savepoint inside the one that is open."""
        return transaction.atomic(using=self.connection.alias)

    # -- the dialect, for statements of others ------------------------------------------------------------

    def moment(self, value: datetime | None) -> Any:
        """A moment as a parameter."""
        return self.dialect.moment(value)

    def json_text(self, column: str) -> str:
        """A JSON column as its text."""
        return self.dialect.json_text.format(column=column)

    def process(self, value: UUID) -> Any:
        """A process id as a parameter."""
        return Message._meta.get_field("leased_by").get_db_prep_value(value, self.connection)

    # -- faults, told apart by code, never by text -----------------------------------------------------

    def fault_of(self, error: BaseException) -> Fault:
        """What an error is about, by the table in faults.py."""
        return self.dialect.fault_of(error, code_of(error, self.dialect.read_code))

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same statement may succeed at once: deadlock, serialization, locked."""
        return self.fault_of(error) is Fault.TRANSIENT

    def is_outage(self, error: BaseException) -> bool:
        """Whether the connection or the server is to blame, or may be."""
        return self.fault_of(error) in (Fault.OUTAGE, Fault.DOUBTFUL)

    def is_missing_table(self, error: BaseException) -> bool:
        return code_of(error, self.dialect.read_code) in self.dialect.missing_table

    def insist(self, act: Callable[[], T], on_doubt: Callable[[], None] = lambda: None) -> T:
        """Do what is one transaction, on a connection of our own, and again where that may help.

        Raises Refused for what a good connection does not take, the database's error in an outage. A
        connection that broke is made again and asked SELECT 1: what then breaks it once more is refused.
        `on_doubt` is called before that, since the first try may have been carried out.
        """
        doubted = False
        for tried in range(1, TRIES + 1):
            try:
                return act()
            except Error as error:
                fault = self.fault_of(error)
                if fault is Fault.DOUBTFUL:
                    # It may be broken; the next statement has a new one.
                    with contextlib.suppress(Error):
                        self.connection.close()
                if fault is Fault.REFUSAL or (fault is Fault.DOUBTFUL and doubted):
                    raise Refused from error
                if fault is Fault.OUTAGE or tried == TRIES:
                    raise
                if fault is Fault.TRANSIENT:
                    time.sleep(random.uniform(0.005, 0.05) * tried)
                else:
                    doubted = True
                    on_doubt()
                    # The answer of a new connection: the server is there.
                    self.execute("SELECT 1", {})
        raise AssertionError("a try returns or raises")

    def in_groups(
        self, rows: Sequence[T], length: Callable[[T], int], most: int | None = None
    ) -> Iterator[Sequence[T]]:
        """Cut rows so that no statement has more of their text than the database takes, in characters."""
        return cut(rows, length, self.most_text, most)

    # -- what differs -----------------------------------------------------------------------------------

    def prepare_own_connection(self) -> None:
        """Set up a connection that only the queue uses."""
        settings = self.connection.settings_dict
        options = {**settings["OPTIONS"], **self.own_options}
        self.connection.settings_dict = {**settings, "OPTIONS": options, "CONN_MAX_AGE": None}

    def notice_silence(self) -> None:
        """Have each side notice that the other is gone without a word, on what this connection opens next."""

    def begin_round(self) -> None:
        """Called first in each of a worker's transactions."""

    def insert(self, row: NewRow, now: datetime | None = None) -> Inserted | None:
        """Insert one message in one statement; None when a live twin has its unique key."""
        raise NotImplementedError

    def insert_many(self, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
        """Insert messages without unique keys; return their ids in order."""
        raise NotImplementedError

    def known_occurrences(self, pairs: Sequence[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
        """Return those of the pairs of a schedule and a planned time that have an occurrence."""
        raise NotImplementedError

    def insert_occurrences(self, rows: Sequence[tuple[Any, ...]]) -> list[int]:
        """Insert rows of the columns NEW_OCCURRENCE; return their ids in order."""
        raise NotImplementedError

    def move_schedules(self, rows: Sequence[tuple[Any, ...]], columns: tuple[str, ...]) -> int:
        """Write columns of schedules that have this id, version and next run; return how many there were."""
        raise NotImplementedError

    def has_leftovers(self) -> bool:
        """Whether a handler left a transaction or a setting behind here, out of Django's sight."""
        raise NotImplementedError

    def reset_session(self) -> bool:
        """Take back all that was set on the session, for less than a new one; False if only that will do."""
        return False

    def remember_session(self) -> Callable[[], object]:
        """Return what puts back, for the open transaction, the settings that our own statements depend on."""
        return lambda: None

    def abort_connection(self) -> None:
        """End a transaction from another thread, so that what it locks is free; its code can do no more."""

    def data_version(self) -> int | None:
        """Return what changes when another connection has written, where that can be had cheaply."""
        return None

    def listen(
        self, is_over: Callable[[], bool], heard: Callable[[str | None], None]
    ) -> Iterator[tuple[str, int] | UUID | None]:
        """Yield the lanes that have work, and the processes whose messages were revoked, as they are named.

        None stands for a bulk operation. Once it listens, it calls `heard` with its listener's name, or None.
        """
        raise NotImplementedError

    def tell_revoked(self, processes: Iterable[UUID]) -> None:
        """Tell processes that messages which they hold are theirs no longer, where that is possible."""

    def tell_of_operation(self) -> None:
        """Tell workers that a bulk operation waits, where that is possible."""

    def rest(self, stop: threading.Event, seconds: float) -> None:
        """Wait until `stop` is set, the time is over or, where that is told, a schedule was changed."""
        stop.wait(seconds)

    def tell_of_schedules(self) -> None:
        """Tell schedulers that a schedule was changed, where that is possible."""

    def notify(self, queue: str, priority: int, messages: int = 1) -> None:
        """Tell idle workers that a lane has work: a few, or as many as there are new messages."""

    def name_queues(self, queues: Iterable[str]) -> None:
        """Make room for the lists of the workers that wait for these queues, where there are such lists."""

    def say_busy(self, queues: Iterable[str], listener: str | None) -> None:
        """Take this listener off the lists of these queues: it is busy."""

    def old_snapshots(self, before: datetime) -> list[Session]:
        """Return the sessions that hold a snapshot from before this moment, where that does harm."""
        return []

    def bloated_tables(self) -> list[Bloat]:
        """Return our tables that are dead rows above all, where dead rows stay in them."""
        return []

    def lanes(self, marked: Sequence[Lane] | None = None) -> list[Lane]:
        """Return all lanes that have messages, each with its earliest visible_at, paused ones too.

        With `marked` only these lanes are looked at, each from its visible_at on.
        """
        raise NotImplementedError

    def last_look(self, rest: Rest, marked: Sequence[Lane] | None = None) -> tuple[list[Lane], bool]:
        """Return the lanes to a caller that rests from now on, and whether it is needed as a listener."""
        return self.lanes(marked), True

    def lock_held(self, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False) -> list[Any]:
        """Lock those of the (id, receipt) pairs that the process holds: rows of (id, deadline, clock)."""
        raise NotImplementedError

    @property
    def settles_and_claims_at_once(self) -> bool:
        """Whether settle_and_claim() is one statement, and so needs no transaction around it."""
        return False

    def claim(self, request: ClaimRequest) -> Claim:
        """Take due messages of one lane, past unknown and paused types too; call it inside a transaction."""
        claim = self.claim_within(request, request.limit)
        if (further := self.claim_further(request, claim)) is not None:
            claim.go_on(further)
        return claim

    def settle_and_claim(
        self, process: UUID, settlements: Sequence[Settlement], keep: frozenset[str], request: ClaimRequest
    ) -> tuple[dict[int, str], Claim]:
        """Settle, and claim among the first rows of a lane. What it settles, it does not claim."""
        return self.settle(process, settlements, keep=keep), self.claim_within(request, request.limit)

    def claim_further(self, request: ClaimRequest, claim: Claim) -> Claim | None:
        """Complete a claim whose lane began with types that are paused, or that this process does not know.

        It looks once more and further, ten times its limit at the most. None when there is no need.
        """
        stopped = claim.saw_all or claim.left or any(row.is_poison_suspect for row in claim.rows)
        if not claim.unknown or stopped or len(claim.rows) == request.limit:
            return None
        window = LOOK_PAST * request.limit
        rest = replace(request, taken=len(claim.rows), further=())
        further = self.claim_within(rest, window)
        if further.passed_all and not further.saw_all and further.looked_until == request.start_at:
            # All of the window became visible at one moment, so the next claim would begin with the same
            # rows: search for known types only, however far that is.
            further = self.claim_within(replace(rest, known_only=True), rest.limit)
        return further

    def has_due(self, lane: Lane, types: Sequence[str]) -> bool:
        """Whether a message of these types is due in a lane, not paused, locked or not."""
        names = {f"type{n}": type for n, type in enumerate(types)}
        if not names:
            return False
        sql = f"""
            SELECT 1 FROM {TABLE}
            WHERE queue = %(queue)s AND priority = %(priority)s AND visible_at <= {self.dialect.clock}
              AND type IN ({", ".join(f"%({name})s" for name in names)})
              AND {TYPE_GOES_ON} AND NOT {IS_PAUSED.format(name="%(queue)s")}
            LIMIT 1
        """
        params = {"queue": lane.queue, "priority": lane.priority, "now": self.dialect.now_param(None)}
        return bool(self.execute(sql, params | names))

    def claim_within(self, request: ClaimRequest, window: int) -> Claim:
        """Claim among the first `window` due rows of the lanes together; none while their queue is paused."""
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

        Returns the outcome of each id that was written. An outcome not in `keep` leaves no archived row,
        unless its settlement says otherwise. What is to follow a death is enqueued here.
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
        raise NotImplementedError

    def atomic_scope(self, process: UUID, lease: tuple[int, int]) -> Any:
        """Return the AtomicScope that an atomic handler is to run in, inside the transaction that is open."""
        raise NotImplementedError

    def renew(
        self, process: UUID, leases: Sequence[tuple[int, int]], seconds: float, now: datetime | None = None
    ) -> set[int]:
        """Move the leases that are held to at least `seconds` from now; return their ids.

        Rows that somebody has locked are passed over: their own handler's transaction holds them.
        """
        if not leases:
            return set()
        dialect = self.dialect
        with self.transaction():
            held = [row[0] for row in self.lock_held(process, leases)]
            if held:
                later = dialect.plus_sql(dialect.now_sql(now), "%(lease)s")
                these, params = dialect.among(held)
                # No condition on visible_at: it would invite a search of the whole lane.
                self.execute(
                    f"UPDATE {TABLE} SET visible_at = CASE WHEN visible_at < {later} THEN {later} "
                    f"ELSE visible_at END WHERE id {these}",
                    {**params, "lease": dialect.amount(seconds), "now": dialect.now_param(now)},
                )
        return set(held)

    def still_held(self, process: UUID, leases: Sequence[tuple[int, int]]) -> set[int]:
        """Return the ids of the leases that the process has, locked or not, without waiting."""
        if not leases:
            return set()
        these, params = self.dialect.among([lease[0] for lease in leases])
        rows = self.execute(
            f"SELECT id, receipt FROM {TABLE} WHERE id {these} AND leased_by = %(process)s",
            {**params, "process": self.process(process)},
        )
        return {id for id, receipt in rows if (id, receipt) in set(leases)}

    def write_errors(self, process: UUID, claimed: Sequence[Claimed]) -> None:
        """Write the errors of messages that this process holds, and the last fingerprint, under the guard."""
        if not claimed:
            return
        holder = self.process(process)
        with self.transaction():
            for one in claimed:
                facts = {"errors": one.errors, "mark": one.lost_fingerprint}
                self.execute(
                    f"UPDATE {TABLE} SET errors = %(errors)s, error_fingerprint = %(mark)s "
                    "WHERE id = %(id)s AND receipt = %(receipt)s AND leased_by = %(process)s",
                    {**facts, "id": one.id, "receipt": one.receipt, "process": holder},
                )

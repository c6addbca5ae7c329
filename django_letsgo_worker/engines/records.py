"""The values that pass between messages and the engines, and the rule by which a claim chooses.

Plain data: no SQL, no connection. What handlers and their callers wrote is not in repr(): error trackers send
that with the variables of a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from .dialect import microseconds

# What moves unchanged from a message to its archived row.
MOVED = (
    "id", "type", "payload", "headers", "queue", "priority", "visible_at", "enqueued_at", "deadline",
    "max_attempts", "receipt", "deaths", "leased_by", "leased_at", "unique_key", "scheduled_job_id",
    "planned_at",
)  # fmt: skip

# Outcomes of settlements after which a message is still live.
GOING_ON = ("again", "released")

# A claim looks past rows that it may not take only this many times its limit.
LOOK_PAST = 10


# What a claim reads as the type of a message whose type is paused: nobody knows it, so it is passed over.
PAUSED = ""
# So much text, in characters, no server refuses that takes a payload.
SURELY_TAKEN = 64 * 1024

T = TypeVar("T")


def cut(
    rows: Sequence[T], length: Callable[[T], int], most: int, most_rows: int | None
) -> Iterator[Sequence[T]]:
    """Cut rows into groups of at most so much text, in characters, and at most so many rows."""
    lengths = [length(row) for row in rows]
    most = most if sum(lengths) > SURELY_TAKEN else SURELY_TAKEN
    start, left = 0, most
    for place, each in enumerate(lengths):
        if place > start and (each > left or place - start == most_rows):
            yield rows[start:place]
            start, left = place, most
        left -= each
    if rows:
        yield rows[start:]


class AtLeast(int):
    """A count that was ended by a limit: it stands for itself or more, and says so wherever it is written."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


@dataclass(slots=True, kw_only=True)
class NewRow:
    """A message to insert. Times in seconds count from the database's clock."""

    type: str
    payload: str = field(repr=False)
    headers: str = field(default="{}", repr=False)
    queue: str
    priority: int
    max_attempts: int
    delay_seconds: float = 0.0
    visible_at: datetime | None = None
    deadline_seconds: float | None = None
    deadline: datetime | None = None
    unique_key: str | None = None
    scheduled_job_id: int | None = None
    planned_at: datetime | None = None

    @property
    def length(self) -> int:
        """How much text it has that can be long, in characters."""
        return len(self.payload) + len(self.headers)

    def waits(self, place: int, count: int) -> int:
        """The microseconds from the clock to its being visible, at its place among so many written at once.

        Backwards from the clock, so that the order of the list holds; what is delayed is spaced forwards,
        since nothing may be early.
        """
        return microseconds(self.delay_seconds) + place if self.delay_seconds else place + 1 - count

    def moments(self, clock: datetime, place: int, count: int) -> tuple[datetime, datetime | None]:
        """When it becomes visible, and its deadline, at its place among so many that are written at once."""
        visible_at = self.visible_at or clock + timedelta(microseconds=self.waits(place, count))
        if self.deadline_seconds is None:
            return visible_at, self.deadline
        return visible_at, clock + timedelta(microseconds=microseconds(self.deadline_seconds))


@dataclass(slots=True)
class Inserted:
    """What the database made of a new row; None where the engine cannot say it in one statement."""

    id: int
    enqueued_at: datetime | None
    visible_at: datetime | None
    deadline: datetime | None = None
    # Whether an idle worker was told by the same statement.
    notified: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    """One priority of one queue; a claim reads exactly one."""

    queue: str
    priority: int
    next_visible_at: datetime | None = None
    is_paused: bool = False
    # The database's clock when this was read.
    read_at: datetime | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, int]:
        return self.queue, self.priority

    @property
    def due_in(self) -> float:
        """The seconds until its first message was visible when this was read; 0 when it was already."""
        if self.next_visible_at is None or self.read_at is None:
            return 0.0
        return max(0.0, (self.next_visible_at - self.read_at).total_seconds())


# How many workers listen for the messages of a queue. The others poll.
MOST_LISTENERS = 4


class Rest(NamedTuple):
    """What a worker says before it rests: for which queues it waits (None: all), and as which listener."""

    queues: Sequence[str] | None = None
    excluded: Sequence[str] = ()
    listener: str | None = None
    # It joins a queue's list, and stays on it, only while this many listeners or fewer are there with it.
    most: int = MOST_LISTENERS


def lane_of(row: Sequence[Any], read: Callable[[Any], datetime | None]) -> Lane:
    """Return a lane from a row of its queue, priority, first moment, pause and the clock."""
    queue, priority, moment, is_paused, clock = row
    return Lane(queue, priority, read(moment), bool(is_paused), read(clock))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a process would take from a lane: `free` of any kind, and `prefetch` more of the harmless ones."""

    lane: Lane
    types: Sequence[str]
    process: UUID
    lease_seconds: float
    free: int
    prefetch: int = 0
    start_at: datetime | None = None
    # The lanes to go on with in this order, each from its `next_visible_at`, while there are too few.
    further: Sequence[Lane] = ()
    # How many of these were taken by an earlier look of the same claim.
    taken: int = 0
    # Whether to pass over unknown types in the search itself, without a bound.
    known_only: bool = False
    now: datetime | None = None

    @property
    def lanes(self) -> Sequence[Lane]:
        return self.lane, *self.further

    @property
    def limit(self) -> int:
        return self.free + self.prefetch - self.taken


@dataclass(frozen=True, slots=True)
class Lapse:
    """A lease that a claim found lapsed: which process had it, and since when."""

    process: UUID
    leased_at: datetime


@dataclass(slots=True)
class Claimed:
    """A message as its claim returned it; JSON columns are still text."""

    id: int
    type: str
    payload: str = field(repr=False)
    headers: str = field(repr=False)
    queue: str
    priority: int
    attempts: int
    max_attempts: int
    receipt: int
    deaths: int
    errors: str = field(repr=False)
    enqueued_at: datetime
    deadline: datetime | None
    planned_at: datetime | None
    leased_at: datetime
    # Since when it was due.
    due_at: datetime | None = None
    # The lease that was taken over, if any, and the record of the attempt that ended with it.
    lapse: Lapse | None = None
    lost_attempt: dict[str, Any] | None = None
    lost_fingerprint: str | None = None

    @property
    def has_exhausted_attempts(self) -> bool:
        """Whether all attempts were used already: the last one's worker died."""
        return self.attempts > self.max_attempts

    @property
    def is_poison_suspect(self) -> bool:
        """Whether it may be what kills its workers: it then runs with nothing beside it."""
        return not self.has_exhausted_attempts and _is_suspect(self.deaths, self.attempts, self.max_attempts)


@dataclass(slots=True)
class Claim:
    """What a claim took, and what it saw and did not take."""

    rows: list[Claimed] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    looked: int = 0
    # Whether it saw all that was due and that nobody has locked.
    saw_all: bool = True
    # Whether it left messages of known types that it saw, for want of a seat or since it had enough.
    left: bool = False
    # When the oldest of the rows that it looked at became visible.
    looked_from: datetime | None = None
    # Where the next claim may begin: what became visible before is taken, or of an unknown type. None
    # when the very first row was left, or when there was none.
    looked_until: datetime | None = None
    # The claims of the further lanes of its request that were reached, in their order.
    further: list[Claim] = field(default_factory=list)

    def note_looked(
        self,
        is_left: Sequence[bool],
        moments: Sequence[Any],
        window: int,
        read: Callable[[Any], datetime | None],
    ) -> None:
        """Note what it saw among `window` rows: whether each was known and left, and its moment, in order."""
        self.looked, self.saw_all = len(moments), len(moments) < window
        passed = is_left.index(True) if True in is_left else len(moments)
        self.left = passed < len(moments)
        self.looked_from = read(moments[0]) if moments else None
        self.looked_until = read(moments[passed - 1]) if passed else None

    @property
    def passed_all(self) -> bool:
        """Whether it met nothing but types that are paused, or that this process does not know."""
        return self.looked > 0 and not self.rows and not self.left

    def go_on(self, further: Claim) -> None:
        """Take in what a further look of the same claim took and saw."""
        self.rows += further.rows
        self.unknown |= further.unknown
        self.looked, self.saw_all, self.left = further.looked, further.saw_all, further.left
        self.looked_until = further.looked_until


@dataclass(slots=True, kw_only=True)
class Settlement:
    """What is to be written about a message that this process holds.

    `outcome` is an archived message's, or "again" (visible after `delay_seconds`, expired if that is
    beyond its deadline), or "released" (visible now). `attempts` and `errors` None leave them as they are,
    and so does an `error_fingerprint` "" that of a message which goes on.
    """

    id: int
    receipt: int
    outcome: str
    attempts: int | None = None
    errors: str | None = field(default=None, repr=False)
    delay_seconds: float = 0.0
    deaths: int = 0
    started_seconds_ago: float | None = None
    seconds: float | None = None
    result: str | None = field(default=None, repr=False)
    error_class: str = ""
    error_fingerprint: str = ""
    # What is enqueued in the same transaction, if this is written and the outcome is dead.
    on_dead: Sequence[NewRow] = ()
    # The message's new limit, if it is raised and goes on.
    max_attempts: int | None = None
    # Whether a row is kept in the archive, where the message's type decides that; None: the settings do.
    keep: bool | None = None

    def is_kept(self, outcome: str, keep: Collection[str]) -> bool:
        """Whether it leaves an archived row with this outcome: by its own rule, else if that is in `keep`."""
        return outcome in keep if self.keep is None else self.keep and outcome not in GOING_ON

    @property
    def goes_on(self) -> bool:
        return self.outcome in GOING_ON

    @property
    def length(self) -> int:
        """How much text it has that handlers can make long, in characters."""
        return len(self.result or "") + len(self.errors or "")

    @property
    def has_more(self) -> bool:
        """Whether it takes further statements, and so a transaction around them all."""
        return bool(self.on_dead) or self.max_attempts is not None

    @property
    def is_plain(self) -> bool:
        """Whether it is a success of which there is nothing to say but its times."""
        return (
            self.outcome == "succeeded"
            and self.attempts is None
            and self.errors is None
            and self.result is None
        )


class Looked(NamedTuple):
    """A due row as a claim sees it before it decides; its moment as the engine has it."""

    id: int
    type: str
    visible_at: Any
    attempts: int
    max_attempts: int
    held: bool
    deaths: int
    leased_by: Any = None
    leased_at: Any = None

    @property
    def is_suspect(self) -> bool:
        """Whether it will be a poison suspect once it is claimed."""
        attempts = self.attempts + 1
        return attempts <= self.max_attempts and _is_suspect(
            self.deaths + self.held, attempts, self.max_attempts
        )


def _is_suspect(deaths: int, attempts: int, max_attempts: int) -> bool:
    return deaths >= 2 or (deaths == 1 and attempts == max_attempts)


def choose(looked: Sequence[Looked], request: ClaimRequest) -> list[int]:
    """Return the ids to take: known types only, nothing risky beyond a free seat, a suspect alone.

    Risky are messages whose last lease lapsed and those on their last attempt: if they wait in a
    process that dies, they lose an attempt that nobody began.
    """
    known = set(request.types)
    chosen: list[int] = []
    place = request.taken
    for row in looked:
        if row.type not in known:
            continue
        place += 1
        attempts = row.attempts + 1
        fits = place <= request.free or not (row.held or attempts >= row.max_attempts)
        if row.is_suspect:
            return [row.id] if place == 1 and fits else chosen[: request.limit]
        if fits:
            chosen.append(row.id)
    return chosen[: request.limit]

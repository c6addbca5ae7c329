"""Search: the messages that fit what a person looks for, live or ended.

What has an index is found wherever it is; the rest among the first ten thousand in their lanes, or the newest
ten thousand that ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ..engines import ARCHIVE, TABLE, Lane
from ..models import LIVE_STATES, Failure, Occurrence, ScheduledJob
from .snapshot import Snapshot

# How many messages are looked at, and how many an index may find for one value.
WINDOW, FOUND = 10_000, 1_000
# How many types, schedules or failures the words may stand for.
MEANINGS = 50
# What a word may be, each with its prefix; without one it may be any of them.
KINDS = ("type", "key", "error", "schedule", "worker", "correlation")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The conditions on a list of messages; None means all. `state` is a live message's, or an outcome."""

    queue: str | None = None
    state: str | None = None
    type: str | None = None
    words: str = ""

    @property
    def kind(self) -> str | None:
        """What the words are, if they say so."""
        prefix, colon, _rest = self.words.partition(":")
        return prefix if colon and prefix in KINDS else None

    @property
    def word(self) -> str:
        """The words without their prefix."""
        text = self.words.partition(":")[2] if self.kind else self.words
        return text.strip().replace("\0", "")


@dataclass(slots=True)
class Meaning:
    """What the words of a search stand for in the rows."""

    type: str | None = None
    key: str | None = None
    correlation: str | None = None
    error: str | None = None
    fingerprints: list[str] = field(default_factory=list)
    jobs: list[int] = field(default_factory=list)
    holders: list[UUID] = field(default_factory=list)


def find_live(page: Snapshot, wanted: Wanted) -> list[int]:
    """Return the ids of live messages that fit, higher priorities and earlier messages first."""
    lanes = [lane for lane in page.lanes if wanted.queue in (None, lane.queue)]
    if not lanes or (wanted.state is not None and wanted.state not in LIVE_STATES):
        return []
    statement = _Statement(page, wanted, TABLE, "priority, visible_at, leased_by, attempts")
    state = LIVE_STATES[wanted.state] if wanted.state else None
    side = f"AND visible_at {state.sign} %(now)s" if state else ""
    statement.params["now"] = page.engine.moment(page.now)
    for lane in lanes:
        statement.add(f"{_lane(statement, lane)} {side}", "visible_at", -(-WINDOW // len(lanes)))
    for rule in statement.indexed():
        statement.add(f"{rule} {side}", "", FOUND)
    if state is not None and state.sql:
        statement.rules.append(state.sql)
    return statement.ids("priority DESC, visible_at, id")


def find_ended(page: Snapshot, wanted: Wanted) -> list[int]:
    """Return the ids of archived messages that fit, those that ended last first."""
    statement = _Statement(page, wanted, ARCHIVE, "finished_at, outcome, leased_by")
    if wanted.state is not None:
        statement.rules.append(f"outcome = {statement.value(wanted.state)}")
    if wanted.type is not None:
        statement.add(f"type = {statement.value(wanted.type)}", "finished_at DESC", WINDOW)
    elif wanted.state is not None:
        statement.add(f"outcome = {statement.value(wanted.state)}", "finished_at DESC", WINDOW)
    else:
        statement.add("1 = 1", "id DESC", WINDOW)
    for rule in statement.indexed_in_the_archive():
        statement.add(rule, "finished_at DESC", FOUND)
    return statement.ids("finished_at DESC, id DESC")


class _Statement:
    """A statement that looks at the heads of some indexes, and keeps what fits."""

    def __init__(self, page: Snapshot, wanted: Wanted, table: str, columns: str) -> None:
        self.page, self.table = page, table
        self.params: dict[str, Any] = {}
        self.parts: list[str] = []
        self.rules: list[str] = []
        self.means = _meaning(page, wanted)
        self.correlation = ""
        if self.means is not None and self.means.correlation is not None:
            value = page.engine.dialect.json_value.format(column="headers", key="correlation_id")
            self.correlation = f", {value} AS correlation"
        archived = ", error_class" if table == ARCHIVE else ""
        self.columns = (
            f"id, type, queue, unique_key, error_fingerprint, scheduled_job_id{archived}, {columns}"
            f"{self.correlation}"
        )
        if wanted.queue is not None:
            self.rules.append(f"queue = {self.value(wanted.queue)}")
        if wanted.type is not None:
            self.rules.append(f"type = {self.value(wanted.type)}")
        if self.means is not None:
            self.rules.append(f"({' OR '.join(self._any_of(self.means)) or '1 = 0'})")

    def value(self, value: object) -> str:
        """Return a new placeholder for a value."""
        name = f"value{len(self.params)}"
        self.params[name] = value
        return f"%({name})s"

    def among(self, column: str, values: Sequence[object]) -> str:
        return f"{column} IN ({', '.join(self.value(one) for one in values)})"

    def add(self, rule: str, order: str, most: int) -> None:
        """Look at the first rows that an index gives for a rule."""
        # In the order of the index, so that it ends after the first ones.
        sorted_by = f"ORDER BY {order}" if order else ""
        inner = f"SELECT {self.columns} FROM {self.table} WHERE {rule} {sorted_by} LIMIT {most}"
        self.parts.append(f"SELECT * FROM ({inner}) part{len(self.parts)}")

    def ids(self, order: str) -> list[int]:
        where = f"WHERE {' AND '.join(self.rules)}" if self.rules else ""
        rows = self.page.engine.execute(
            f"SELECT id FROM ({' UNION ALL '.join(self.parts)}) looked_at {where} ORDER BY {order}",
            self.params,
        )
        # What two parts have found is listed once.
        return list(dict.fromkeys(row[0] for row in rows))[:WINDOW]

    # -- the words -----------------------------------------------------------------------------------------

    def _any_of(self, means: Meaning) -> Iterator[str]:
        """Yield the conditions of which one must be true of a row."""
        if means.type is not None:
            yield self._contains("type", means.type)
        if means.key is not None:
            yield f"unique_key = {self.value(means.key)}"
        if self.correlation:
            yield f"correlation = {self.value(means.correlation)}"
        if means.error is not None and self.table == ARCHIVE:
            yield self._contains("error_class", means.error)
        if means.fingerprints:
            yield self.among("error_fingerprint", means.fingerprints)
        if means.jobs:
            yield self.among("scheduled_job_id", means.jobs)
        if means.holders:
            yield self.among("leased_by", [self.page.engine.process(one) for one in means.holders])

    def _contains(self, column: str, word: str) -> str:
        return f"LOWER({column}) LIKE {self.value(_part(word))} ESCAPE '!'"

    def indexed(self) -> Iterator[str]:
        """Yield the rules that have an index of live messages, beside that of their lanes."""
        if self.means is None:
            return
        types = sorted(self.page.types_known)
        if self.means.key is not None and types:
            # The unique key's index begins with the type.
            yield f"{self.among('type', types)} AND unique_key = {self.value(self.means.key)}"
        if self.means.fingerprints:
            yield self.among("error_fingerprint", self.means.fingerprints)
        if self.means.jobs:
            yield self.among("scheduled_job_id", self.means.jobs)

    def indexed_in_the_archive(self) -> Iterator[str]:
        """Yield the rules that have an index of archived messages, beside that of the newest ones."""
        if self.means is None:
            return
        if self.means.type is not None:
            word = self.means.type.lower()
            types = [name for name in sorted(self.page.types_known) if word in name.lower()]
            yield from (f"type = {self.value(name)}" for name in types[:MEANINGS])
        for one in self.means.fingerprints:
            # The outcome is written out: a partial index is of no use to a parameter.
            yield f"outcome = 'dead' AND error_fingerprint = {self.value(one)}"
        if self.means.jobs:
            runs = Occurrence.objects.using(self.page.using).filter(scheduled_job__in=self.means.jobs)
            ids = list(runs.order_by("-planned_at").values_list("message_id", flat=True)[:FOUND])
            if kept := [pk for pk in ids if pk is not None]:
                yield self.among("id", kept)


def _lane(statement: _Statement, lane: Lane) -> str:
    return f"queue = {statement.value(lane.queue)} AND priority = {statement.value(lane.priority)}"


def _meaning(page: Snapshot, wanted: Wanted) -> Meaning | None:
    """Return what the words may stand for; None if there are none."""
    word, kind = wanted.word, wanted.kind
    if not word:
        return None

    def is_(name: str) -> bool:
        return kind in (None, name)

    means = Meaning(
        type=word if is_("type") else None,
        key=word if is_("key") else None,
        correlation=word if is_("correlation") else None,
        error=word if is_("error") else None,
    )
    if is_("worker"):
        alike = [one.pk for one in page.processes if word.lower() in one.name.lower()]
        means.holders = alike[:MEANINGS]
    parts = [_failures_with()] if is_("error") else []
    if is_("schedule"):
        # Part of a name only where it is asked for: schedules may be a hundred thousand.
        parts.append(_schedules_with("LOWER(name) LIKE %(part)s ESCAPE '!'" if kind else "name = %(word)s"))
    params = {"word": word, "part": _part(word)}
    for fingerprint, job in page.engine.execute(" UNION ALL ".join(parts), params) if parts else ():
        means.fingerprints += [fingerprint] if fingerprint else []
        means.jobs += [job] if job else []
    return means


def _part(word: str) -> str:
    """Return the pattern of texts that contain a word, in small letters; an exclamation mark escapes."""
    return f"%{word.lower().replace('!', '!!').replace('%', '!%').replace('_', '!_')}%"


def _failures_with() -> str:
    table = Failure._meta.db_table
    some = f"SELECT fingerprint FROM {table} WHERE LOWER(error_class) LIKE %(part)s ESCAPE '!'"
    return f"SELECT fingerprint, NULL FROM ({some} ORDER BY last_at DESC LIMIT {MEANINGS}) failures"


def _schedules_with(rule: str) -> str:
    table = ScheduledJob._meta.db_table
    return f"SELECT NULL, id FROM (SELECT id FROM {table} WHERE {rule} LIMIT {MEANINGS}) schedules"

"""Prune: delete archived messages and occurrences that were kept for long enough, the oldest first.

rules() says what is kept for how long; for each rule Pruning goes along an index, in short batches. When that
is done, and how fast, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import registry
from ..conf import settings
from ..engines import ARCHIVE, engine_for
from ..models import ArchivedMessage, Occurrence

# How many rows of an index a batch goes along. Those of the last one's moment come on top, up to as many.
BATCH = 1_000
# About how many rules one statement asks: no engine takes thousands of columns.
MOST_ASKED = 200


def prune(*, now: datetime | None = None, using: str | None = None) -> int:
    """Delete archived messages and occurrences that are older than the settings say; return how many.

    `now` is an aware datetime in place of the database's clock, `using` a database alias, DATABASE of the
    settings if None.
    """
    return sum(Pruning(using).batches(now=now))


class Pruning:
    """Prunes whenever it is asked to, and goes on where it was the last time.

    What was deleted stays in an index until the next vacuum, and who begins anew walks over all of it. But
    who goes on overlooks what others put behind: no Pruning is for ever.
    """

    def __init__(self, using: str | None = None) -> None:
        self.using = using or settings().database
        # Up to which moment nothing is left to do.
        self._marks: dict[Place, datetime] = {}

    def batches(self, *, now: datetime | None = None) -> Iterator[int]:
        """Delete a batch with each step; yield how many rows went, 2,000 at most and none where all stay.

        `now` is an aware datetime in place of the database's clock.
        """
        clock = now or engine_for(self.using).clock()
        for rule in self._needed(rules(clock, self.using)):
            while (end := self._end_of_batch(rule)) is not None:
                yield self._delete(rule, end)
            yield self._delete(rule)

    def _needed(self, all_rules: list[Rule]) -> list[Rule]:
        """Ask by which rules anything is old, all at once, since an idle worker asks each minute."""
        engine, needed = engine_for(self.using), []
        for some in engine.in_groups(all_rules, lambda _: 1, MOST_ASKED):
            asked, params = [], dict[str, Any]()
            for number, rule in enumerate(some):
                where, its_params = self._ahead(rule, suffix=str(number))
                asked.append(f"EXISTS (SELECT 1 FROM {rule.place.table} WHERE {where})")
                params |= its_params
            answers = engine.execute(f"SELECT {', '.join(asked)}", params)[0]
            needed += [rule for rule, answer in zip(some, answers, strict=True) if answer]
        return needed

    def _end_of_batch(self, rule: Rule) -> datetime | None:
        """Return the moment of a batch's last row, counting those that stay; None if fewer are left."""
        engine, moment = engine_for(self.using), rule.place.moment
        where, params = self._ahead(rule)
        in_order = f"WHERE {where} ORDER BY {moment} LIMIT 1 OFFSET {BATCH - 1}"
        rows = engine.execute(f"SELECT {moment} FROM {rule.place.table} {in_order}", params)
        return engine.dialect.read_moment(rows[0][0]) if rows else None

    def _delete(self, rule: Rule, end: datetime | None = None) -> int:
        """Delete what goes by a rule, up to the end of a batch or all that is left."""
        engine, place, most = engine_for(self.using), rule.place, 2 * BATCH
        where, params = self._ahead(rule)
        params |= rule.params
        if end is not None:
            where, params = f"{where} AND {place.moment} <= %(end)s", {**params, "end": engine.moment(end)}
        sql = engine.dialect.delete_first(place.table, f"{where} {rule.goes}", order=place.moment, most=most)
        with engine.connection.cursor() as cursor:
            cursor.execute(sql, params)
            deleted: int = cursor.rowcount
        if end is not None and deleted < most:
            self._marks[place] = end
        return deleted

    def _ahead(self, rule: Rule, suffix: str = "") -> tuple[str, dict[str, Any]]:
        """Return the condition of rows that are old and ahead of the mark, and its parameters."""
        engine, place, mark = engine_for(self.using), rule.place, self._marks.get(rule.place)
        conditions, params = (
            [f"{place.moment} < %(before{suffix})s"],
            {f"before{suffix}": engine.moment(rule.before)},
        )
        if place.column:
            conditions.append(f"{place.column} = %(value{suffix})s")
            params[f"value{suffix}"] = place.value
        if mark is not None:
            conditions.append(f"{place.moment} > %(mark{suffix})s")
            params[f"mark{suffix}"] = engine.moment(mark)
        return " AND ".join(conditions), params


# -- what is kept for how long ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Rows that stand together in an index, in the order of a moment: those with one value, or all."""

    table: str
    moment: str
    column: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows of a place go that are from before a moment, but for those that have a rule of their own."""

    place: Place
    before: datetime
    # A further condition on what goes, and its parameters.
    goes: str = ""
    params: dict[str, Any] = field(default_factory=dict)


def rules(clock: datetime, using: str) -> list[Rule]:
    """Return what is kept until when: each outcome, but for types that have a time of their own."""
    keep, own = settings(), {**_kept_by_pattern(using), **registry.kept_for()}
    succeeded, dead = _ago(clock, keep.keep_succeeded_for), _ago(clock, keep.keep_dead_for)
    found = [
        Rule(Place(ARCHIVE, "finished_at", "type", type), _ago(clock, days), "AND outcome <> 'dead'")
        for type, days in sorted(own.items())
    ]
    # Types that are kept for less have gone by then.
    longer = sorted(type for type, days in own.items() if days > keep.keep_succeeded_for)
    params = {f"longer{place}": type for place, type in enumerate(longer)}
    goes = f"AND type NOT IN ({', '.join(f'%({name})s' for name in params)})" if params else ""
    for outcome in ("succeeded", "cancelled", "expired"):
        found.append(Rule(Place(ARCHIVE, "finished_at", "outcome", outcome), succeeded, goes, params))
    found.append(Rule(Place(ARCHIVE, "finished_at", "outcome", "dead"), dead))
    occurrences = Place(Occurrence._meta.db_table, "fired_at")
    return [*found, Rule(occurrences, _ago(clock, keep.keep_occurrences_for))]


def _kept_by_pattern(using: str) -> dict[str, float]:
    """Return the keep-times that the setting TYPES gives to archived types, known here or not."""
    policies = settings().types
    if not any("keep_for" in says for _, says in policies.patterns):
        return {}
    kept: dict[str, float] = {}
    archived = ArchivedMessage.objects.using(using)
    names, found = archived.order_by("type").values_list("type", flat=True), ""
    # From type to type through the index, however many messages each has.
    while (following := names.filter(type__gt=found).first()) is not None:
        found = following
        if (days := policies.of(found).get("keep_for")) is not None:
            kept[found] = days
    return kept


def _ago(clock: datetime, days: float) -> datetime:
    try:
        return clock - timedelta(days=days)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)

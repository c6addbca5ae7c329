"""A Dialect: how one database writes what all statements are made of, and how it gives values back.

Patterns and pure functions: no statement is made here, and none is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .faults import Fault


def microseconds(seconds: float) -> int:
    """Seconds as most databases add them to a moment; rounded up, so that nothing is early."""
    return math.ceil(seconds * 1_000_000)


def same(value: Any) -> Any:
    """The value as it is: the driver takes and gives what we want."""
    return value


def in_utc(value: datetime | None) -> datetime | None:
    """An aware moment of a row, in UTC."""
    return value if value is None else value.astimezone(UTC)


def _plain_list(ids: Sequence[int]) -> tuple[str, dict[str, Any]]:
    params = {f"id{n}": id for n, id in enumerate(ids)}
    return f"IN ({', '.join(f'%({name})s' for name in params)})", params


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialect:
    """Equal to itself alone, so that statements made for one are found by it."""

    # -- clock and moments -----------------------------------------------------------------------------

    # The clock of a statement, and the parameter `now` in its place.
    clock: str
    given_clock: str = "%(now)s"
    # The parameter `now` of a statement that has now_sql(); None where none is asked for.
    now_param: Callable[[datetime | None], Any] = same
    # A moment plus an amount, and seconds as such an amount.
    sum: str
    amount: Callable[[float], Any] = microseconds
    # A moment as a parameter; a moment from a row, aware and in UTC.
    moment: Callable[[datetime | None], Any] = same
    read_moment: Callable[[Any], datetime | None] = in_utc

    # -- rows ------------------------------------------------------------------------------------------

    # A JSON column as its text.
    json_text: str = "{column}"
    # The text of one key of a JSON column; null where there is none.
    json_value: str = "JSON_UNQUOTE(JSON_EXTRACT({column}, '$.{key}'))"
    # What follows a column that is one of these ids, and its parameters.
    among: Callable[[Sequence[int]], tuple[str, dict[str, Any]]] = _plain_list
    # What follows a SELECT that locks, past what others have locked.
    locking: str = "FOR UPDATE SKIP LOCKED"
    # What a table's rows are found again by, and the DELETE of those that a SELECT of that has found.
    row_key: str = "id"
    delete_found: str = "DELETE FROM {table} WHERE id IN ({found})"

    # -- what portable.py writes where there are no arrays ------------------------------------------------

    # A SELECT, and its rows from what is fetched.
    select: str = "SELECT {columns} {rest}"
    read_rows: Callable[[list[Any]], list[Any]] = same
    # The JSON rows in the parameter `rows` as a relation s, each of its columns, and what kind these are.
    json_rows: str = ""
    json_column: str = ""
    json_kinds: Mapping[str, str] = field(default_factory=dict)
    # UPDATE messages m with the relation s, and how each column is set.
    update_joined: str = ""
    update_column: str = "{column} = {value}"
    # What is true of the rows behind a lane, in words that the engine's index search understands.
    after_lane: str = "queue > %(queue)s OR (queue = %(queue)s AND priority > %(priority)s)"
    # What follows the table's name where an engine would not choose the lane's index by itself.
    lane_hint: str = ""

    # -- faults ------------------------------------------------------------------------------------------

    # The code that an error of the driver bears, what that is about, and which say that a table is missing.
    read_code: Callable[[BaseException], Any]
    fault_of: Callable[[BaseException, Any], Fault]
    missing_table: Collection[Any]

    def json_relation(self, columns: Sequence[str]) -> str:
        """The JSON rows in the parameter `rows` as a relation s with these columns, in their order."""
        kinds = self.json_kinds
        read = [self.json_column.format(n=n, name=c, kind=kinds.get(c)) for n, c in enumerate(columns)]
        return self.json_rows.format(columns=", ".join(read))

    def delete_first(self, table: str, where: str, *, order: str, most: int) -> str:
        """DELETE the first rows that match, past those that others have locked."""
        found = (
            f"SELECT {self.row_key} FROM {table} WHERE {where} ORDER BY {order} LIMIT {most} {self.locking}"
        )
        return self.delete_found.format(table=table, found=found)

    def now_sql(self, now: datetime | None) -> str:
        """The clock of a statement, or the parameter `now` in its place."""
        return self.clock if now is None else self.given_clock

    def plus_sql(self, base: str, amount: str) -> str:
        """A moment plus an amount that `amount()` made."""
        return self.sum.format(base=base, amount=amount)

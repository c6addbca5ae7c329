"""The SQL of planning.planned_text(): rows whose columns no longer match planned_from were edited.

A difference only makes a scheduler look; it then decides in Python whether the row was edited.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Case, CharField, F, Func, Q, TextField, Value, When
from django.db.models.functions import Coalesce, Concat
from django.db.models.lookups import Exact

from ..planning import STATES


class MomentText(Func):
    """A moment as planning writes it: UTC, six digits."""

    output_field = TextField()
    arity = 1
    template = "%(expressions)s"  # SQLite's moments are this text already

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="CAST(%(expressions)s AS CHAR)", **context)


class Bytes(Func):
    """A text to be compared byte for byte; the usual collations of MySQL and MariaDB take utc for UTC."""

    output_field = TextField()
    arity = 1
    template = "%(expressions)s"

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="CAST(%(expressions)s AS BINARY)", **context)


def _state() -> Case:
    whens = [
        When(Q(enabled=enabled, next_run_at__isnull=not has_next), then=Value(state))
        for (enabled, has_next), state in STATES.items()
    ]
    return Case(*whens, output_field=CharField())


def _moment(column: str) -> Coalesce:
    return Coalesce(MomentText(F(column)), Value("-"), output_field=TextField())


def planned_text_sql() -> Concat:
    """Return planning.planned_text() of a row as an SQL expression."""
    line = Value("\n")
    bounds = (_moment("starts_at"), line, _moment("ends_at"))
    return Concat(_state(), line, *bounds, line, F("timezone"), line, F("schedule"), output_field=TextField())


def looks_edited() -> Q:
    """Return the condition of rows whose plan a scheduler should look at."""
    same = Exact(Bytes(F("planned_from")), Bytes(planned_text_sql()))
    return ~Q(same) | Q(anchor__isnull=True)

"""Which schedules a scheduler should look at, as a condition that an index keeps: quiet rows cost nothing.

It has the SQL of planning.planned_text(): rows whose columns no longer match planned_from were edited. That
only makes a scheduler look; it then decides in Python whether the row was edited.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import BooleanField, Func

from ..planning import STATES

# A moment as planning writes it, in UTC and with six digits. PostgreSQL lets only immutable functions into an
# index, and to_char() is none; SQLite's moments are this text already.
MOMENTS = {
    "postgresql": " || ".join(
        (
            "lpad(extract(year FROM {utc})::int::text, 4, '0')", "'-'",
            "lpad(extract(month FROM {utc})::int::text, 2, '0')", "'-'",
            "lpad(extract(day FROM {utc})::int::text, 2, '0')", "' '",
            "lpad(extract(hour FROM {utc})::int::text, 2, '0')", "':'",
            "lpad(extract(minute FROM {utc})::int::text, 2, '0')", "':'",
            "lpad((extract(microseconds FROM {utc})::int / 1000000)::text, 2, '0')", "'.'",
            "lpad((extract(microseconds FROM {utc})::int - extract(microseconds FROM {utc})::int / 1000000 "
            "* 1000000)::text, 6, '0')",
        )
    ).replace("{utc}", "({column} AT TIME ZONE 'UTC')"),
    "sqlite": "{column}",
    "mysql": "CAST({column} AS CHAR)",
}  # fmt: skip
NEWLINE = {"postgresql": "chr(10)", "sqlite": "char(10)", "mysql": "CHAR(10 USING utf8mb4)"}
EPOCH = {
    "postgresql": "to_timestamp(0)",
    "sqlite": "'1970-01-01 00:00:00.000000'",
    "mysql": "TIMESTAMP'1970-01-01 00:00:00.000000'",
}
# MariaDB knows no partial index: there it is a generated column, indexed, and no field of the model.
COLUMN = "look_at"


def _joined(vendor: str, parts: list[str]) -> str:
    return f"CONCAT({', '.join(parts)})" if vendor == "mysql" else f"({' || '.join(parts)})"


def _state(vendor: str) -> str:
    has_ended = "max_runs IS NOT NULL AND runs >= max_runs"
    whens = [
        f"WHEN {'' if enabled else 'NOT '}enabled AND next_run_at IS {'NOT NULL' if has_next else 'NULL'}"
        f"{f' AND ({has_ended})' if ran_out else ''} THEN '{state}'"
        for (enabled, has_next, ran_out), state in sorted(STATES.items(), key=lambda one: not one[0][2])
    ]
    return f"CASE {' '.join(whens)} END"


def _planned_text(vendor: str) -> str:
    """Return planning.planned_text() of a row as SQL."""
    bounds = [f"COALESCE({MOMENTS[vendor].format(column=name)}, '-')" for name in ("starts_at", "ends_at")]
    parts = [_state(vendor), *bounds, "timezone", "schedule"]
    lines = [part for each in parts for part in (NEWLINE[vendor], each)][1:]
    text = _joined(vendor, lines)
    # The usual collations of MySQL and MariaDB take utc for UTC.
    return f"CAST({text} AS BINARY)" if vendor == "mysql" else text


def _has_work(vendor: str) -> str:
    """Return the condition of rows that were edited since they were planned, or have something to settle."""
    planned_from = "CAST(planned_from AS BINARY)" if vendor == "mysql" else "planned_from"
    return (
        f"anchor IS NULL OR {planned_from} <> {_planned_text(vendor)} OR unsettled IS NOT NULL"
        " OR problem <> '' OR waiting_message_id IS NOT NULL"
        " OR (delete_when_over AND enabled AND next_run_at IS NULL)"
    )


def look_at_sql(vendor: str) -> str:
    """Return from when on a scheduler should look at a row, as SQL; null for a quiet one."""
    return f"CASE WHEN {_has_work(vendor)} THEN {EPOCH[vendor]} WHEN NOT enabled THEN resume_at END"


def is_not_quiet_sql(vendor: str) -> str:
    return f"({_has_work(vendor)} OR (NOT enabled AND resume_at IS NOT NULL))"


def needs_a_look_sql(vendor: str, now: str) -> str:
    """Return whether a scheduler should look at a row at a moment, in the words of the index."""
    if vendor == "mysql":
        return f"{COLUMN} <= {now}"
    return f"({is_not_quiet_sql(vendor)} AND ({look_at_sql(vendor)}) <= {now})"


class NeedsALook(Func):
    """The same as an expression."""

    output_field = BooleanField()
    arity = 1

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: Any, **context: Any
    ) -> tuple[str, Any]:
        now, params = compiler.compile(self.source_expressions[0])
        return needs_a_look_sql(connection.vendor, now), params


class LookAtIndex(models.Index):
    """An index over the rows that are not quiet, by when a scheduler should look at them."""

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        vendor, quote = schema_editor.connection.vendor, schema_editor.quote_name
        table, name, look_at = quote(model._meta.db_table), quote(self.name), look_at_sql(vendor)
        if vendor == "mysql":
            return (
                f"ALTER TABLE {table} ADD COLUMN {COLUMN} DATETIME(6) AS ({look_at}) VIRTUAL, "
                f"ADD INDEX {name} ({COLUMN})"
            )
        return f"CREATE INDEX {name} ON {table} (({look_at})) WHERE {is_not_quiet_sql(vendor)}"

    def remove_sql(self, model: Any, schema_editor: Any, **kwargs: Any) -> Any:
        if schema_editor.connection.vendor != "mysql":
            return super().remove_sql(model, schema_editor, **kwargs)
        table, name = schema_editor.quote_name(model._meta.db_table), schema_editor.quote_name(self.name)
        return f"ALTER TABLE {table} DROP INDEX {name}, DROP COLUMN {COLUMN}"

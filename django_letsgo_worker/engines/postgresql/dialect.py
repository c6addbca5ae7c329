"""The dialect of PostgreSQL, which its statements are made with beside this module."""

from __future__ import annotations

from ...models import CLOCK_SQL
from .. import faults
from ..dialect import Dialect

DIALECT = Dialect(
    # Not clock_timestamp(): it may change within a statement, so no index can be searched for it.
    clock=CLOCK_SQL["postgresql"],
    given_clock="%(now)s::timestamptz",
    sum="({base} + {amount}::bigint * INTERVAL '1 microsecond')",
    # psycopg would parse `json` by itself, and a parsed string cannot be told from a text.
    json_text="{column}::text",
    json_value="({column} ->> '{key}')",
    among=lambda ids: ("= ANY(%(among)s::bigint[])", {"among": list(ids)}),
    # Where a row is: there is nothing to look up, and no plan to choose.
    row_key="ctid",
    delete_found="DELETE FROM {table} WHERE ctid = ANY(ARRAY({found}))",
    read_code=lambda error: getattr(error, "sqlstate", None) or None,
    fault_of=faults.of_postgresql,
    missing_table=("42P01", "42703"),
)

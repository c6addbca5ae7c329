"""The fragments of SQL, and the forms of values, that each engine says in its own way.

No statement is made here, and none is sent.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from ..models import Message


class Words:
    """How one database is spoken to, through one connection."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def now_sql(self, now: datetime | None) -> str:
        """The clock of a statement, or the parameter `now` in its place."""
        raise NotImplementedError

    def now_param(self, now: datetime | None) -> Any:
        """What the parameter `now` of a statement with now_sql() is; None where none is asked for."""
        return self.moment(now)

    def plus_sql(self, base: str, amount: str) -> str:
        """A moment plus an amount that `amount()` made."""
        raise NotImplementedError

    def amount(self, seconds: float) -> Any:
        """Seconds as plus_sql() wants them; rounded up, so that nothing is early."""
        return math.ceil(seconds * 1_000_000)

    def moment(self, value: datetime | None) -> Any:
        """A moment as a parameter."""
        return value

    def read_moment(self, value: Any) -> datetime | None:
        """A moment from a row, aware and in UTC."""
        return value if value is None else value.astimezone(UTC)

    def process(self, value: UUID) -> Any:
        """A process id as a parameter."""
        return Message._meta.get_field("leased_by").get_db_prep_value(value, self.connection)

    def json_text(self, column: str) -> str:
        """A JSON column as its text."""
        return column

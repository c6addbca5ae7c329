"""Backends as projects write them: each cursor belongs to the tenant that the connection is set to."""

from __future__ import annotations

from typing import Any


class OwnCursors:
    """Before Django's wrapper: `schema` is the tenant's, `made` counts the cursors."""

    tenant: str | None = None
    schema: str | None = None
    made = 0

    def _cursor(self, name: str | None = None) -> Any:
        cursor = super()._cursor(name)
        self.made += 1
        if self.schema is not None and name is None:
            cursor.execute(f"SET search_path = {self.schema}, public")
        return cursor

"""Partial indexes where the engine has them, whole ones elsewhere, without a warning.

Django would skip a partial unique constraint on MySQL and MariaDB; ours must hold there too.
"""

from __future__ import annotations

from typing import Any

from django.db import models


class PartialIndex(models.Index):
    """An index over the rows that match `where`, or over all rows where partial indexes are unknown.

    It holds the columns of `covers` too where an index can, so that a count need not read the rows.
    """

    def __init__(self, *, where: models.Q, covers: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.where, self.covers = where, covers

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        features = schema_editor.connection.features
        condition = self.where if features.supports_partial_indexes else None
        covered = self.covers if features.supports_covering_indexes else ()
        index = models.Index(fields=self.fields, name=self.name, condition=condition, include=covered)
        return index.create_sql(model, schema_editor, using=using, **kwargs)

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        covers = {"covers": self.covers} if self.covers else {}
        return path, args, {**kwargs, "where": self.where, **covers}


class PartialUniqueConstraint(models.UniqueConstraint):
    """Uniqueness among the rows that match `where`.

    Where partial indexes are unknown it covers all rows; `where` must then be "a column is not null",
    so that unique indexes let the others be.
    """

    def __init__(self, *, where: models.Q, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.where = where

    def _for(self, schema_editor: Any) -> models.UniqueConstraint:
        condition = self.where if schema_editor.connection.features.supports_partial_indexes else None
        return models.UniqueConstraint(fields=self.fields, name=self.name, condition=condition)

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._for(schema_editor).constraint_sql(model, schema_editor)

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._for(schema_editor).create_sql(model, schema_editor)

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._for(schema_editor).remove_sql(model, schema_editor)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PartialUniqueConstraint):
            return super().__eq__(other) and self.where == other.where
        return NotImplemented

    __hash__ = models.UniqueConstraint.__hash__

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "where": self.where}

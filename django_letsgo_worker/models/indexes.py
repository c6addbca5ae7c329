"""Partial indexes where the engine has them, whole ones elsewhere, without a warning.

Django would skip a partial unique constraint on MySQL and MariaDB; ours must hold there too.
"""

from __future__ import annotations

from typing import Any

from django.db import models


class PartialIndex(models.Index):
    """An index over the rows that match `where`, or over all rows where partial indexes are unknown."""

    def __init__(self, *, where: models.Q, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.where = where

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        condition = self.where if schema_editor.connection.features.supports_partial_indexes else None
        index = models.Index(fields=self.fields, name=self.name, condition=condition)
        return index.create_sql(model, schema_editor, using=using, **kwargs)

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "where": self.where}


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

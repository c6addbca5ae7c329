"""Rows that save() writes only where they were changed.

Nothing here knows what a column means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Self, TypeVar

from django.db import models
from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init

from ..validation import exact_json
from .fields import ExactJSONField

Row = TypeVar("Row", bound="WrittenWhereChanged")


class Rows(models.QuerySet[Row]):
    """Rows that remember what was written, also when they are written in bulk."""

    def bulk_create(self, objs: Iterable[Row], *args: Any, **kwargs: Any) -> list[Row]:
        rows = super().bulk_create(objs, *args, **kwargs)
        for row in rows:
            row._remember()
        return rows

    def bulk_update(self, objs: Iterable[Row], fields: Iterable[str], *args: Any, **kwargs: Any) -> int:
        rows, names = tuple(objs), tuple(fields)
        count = super().bulk_update(rows, names, *args, **kwargs)
        for row in rows:
            row._remember(names)
        return count


class WrittenWhereChanged(models.Model):
    """A row whose save() writes, once it was read or saved, only the columns that were changed since.

    An old copy thus undoes nothing that happened in between, and a row that was deleted meanwhile stays
    deleted (DatabaseError). A row is new if its primary key was removed or changed.
    """

    # The columns as they were last read or written; of JSON the text, since a value that is changed in place
    # is the same object. Never changed in place itself: copies of the row share it.
    _read: Mapping[str, Any] = {}

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write a new row, or what was changed of an old one; `update_fields` names other columns."""
        if kwargs.get("update_fields") is None and not self._is_new(**kwargs):
            kwargs["update_fields"] = self._changed()
        super().save(*args, **kwargs)
        self._remember(kwargs.get("update_fields"))

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any, **kwargs: Any) -> Self:
        row = super().from_db(db, field_names, values, **kwargs)
        row._remember()
        return row

    @classmethod
    def in_hand(cls, db: str, facts: Mapping[str, Any], **texts: str) -> Self:
        """Return a row just written, from its columns and the texts of its JSON; the rest is deferred.

        For hot paths: nothing is looked up, and no JSON is encoded again.
        """
        if (pre_init.receivers or post_init.receivers) and _is_listened_to(cls):
            names = [field.attname for field in cls._meta.concrete_fields if field.attname in facts]
            row = super().from_db(db, names, [facts[name] for name in names])
        else:
            row = cls.__new__(cls)
            row._state = state = ModelState()
            state.adding, state.db = False, db
            row.__dict__.update(facts)
        row._read = {**facts, **texts, "pk": facts[cls._meta.pk.attname]}
        return row

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        # Reading a deferred column comes here, too: earlier changes must not pass for values that were read.
        names = None if fields is None else list(fields)
        super().refresh_from_db(using, names, from_queryset)
        self._remember(names)

    def _is_new(self, *, force_insert: Any = False, using: str | None = None, **kwargs: Any) -> bool:
        if self._state.adding or force_insert or self.pk is None or self.pk != self._read.get("pk", self.pk):
            return True
        return using is not None and using != self._state.db

    def _remember(self, names: Iterable[str] | None = None) -> None:
        """Note the present values of all columns that are loaded, or of those that are named."""
        if names is None and not self._read and _named_as_columns(type(self)):
            # A row that was just read. What is noted beside its columns is never asked for.
            values = self.__dict__
            texts = {name: _text(values[name]) for name in _json_columns(type(self)) if name in values}
            self._read = {**values, **texts, "pk": self.pk}
            return
        self._read = {**self._read, **self._present(names), "pk": self.pk}

    def _changed(self, names: Iterable[str] | None = None) -> set[str]:
        """Return those of the columns (of all, if none are named) that differ from what was read."""
        read = self._read
        changed = {
            name for name, value in self._present(names).items() if name not in read or read[name] != value
        }
        return changed - {self._meta.pk.name}

    def _present(self, names: Iterable[str] | None) -> dict[str, Any]:
        """Return the columns that are loaded (of those that are named, if any are), of JSON the text."""
        wanted, values = None if names is None else set(names), self.__dict__
        return {
            field.name: _text(values[field.attname])
            if isinstance(field, ExactJSONField)
            else values[field.attname]
            for field in self._meta.concrete_fields
            if field.attname in values and (wanted is None or field.name in wanted or field.attname in wanted)
        }


def _is_listened_to(model: type[models.Model]) -> bool:
    return pre_init.has_listeners(model) or post_init.has_listeners(model)


@cache
def _named_as_columns(model: type[models.Model]) -> bool:
    return all(field.name == field.attname for field in model._meta.concrete_fields)


@cache
def _json_columns(model: type[models.Model]) -> tuple[str, ...]:
    return tuple(f.attname for f in model._meta.concrete_fields if isinstance(f, ExactJSONField))


def _text(value: Any) -> Any:
    if value is None:
        return "null"
    try:
        return exact_json(value)
    except (TypeError, ValueError, RecursionError):
        # An expression, or a value that is not JSON, which writing it will report.
        return value

"""The tables of the three packages, made from rows.json where the packages are not installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.test.utils import isolate_apps

MADE = json.loads((Path(__file__).with_name("rows.json")).read_text())
NOW = datetime.fromisoformat(MADE["now"])
READ = {"DateTimeField": datetime.fromisoformat, "DecimalField": Decimal, "UUIDField": UUID}


def runs(source: str, name: object) -> list[datetime]:
    """Return the next 50 runs of a row, as its own package says."""
    return [datetime.fromisoformat(run) for run in MADE["runs"][f"{source}/{name}"]]


@contextmanager
def made(*tables: str) -> Iterator[None]:
    """Make the tables whose names begin so, without a row, and drop them at the end."""
    found = _models(tables)
    with connection.cursor() as cursor:
        for model in found:
            cursor.execute(*connection.schema_editor().table_sql(model))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for model in found:
                cursor.execute(f"DROP TABLE {connection.ops.quote_name(model._meta.db_table)}")


def fill(*tables: str) -> None:
    """Put the rows that the packages made into tables whose names begin so."""
    for model in _models(tables):
        names = [field.attname for field in model._meta.concrete_fields]
        rows = [
            {name: _read(model._meta.get_field(name), value) for name, value in zip(names, row, strict=True)}
            for row in MADE["tables"][model._meta.db_table]["rows"]
        ]
        model._base_manager.bulk_create(model(**row) for row in rows)


def change(table: str, where: dict[str, Any], **values: Any) -> None:
    """Change rows of a table."""
    _model(table, MADE["tables"][table]["columns"])._base_manager.filter(**where).update(**values)


def contents(*tables: str) -> list[Any]:
    """Return all rows of the tables whose names begin so, to be compared."""
    found = _models(tables)
    return [list(model._base_manager.order_by("pk").values_list()) for model in found]


def _read(field: models.Field, value: Any) -> Any:
    read = READ.get(type(field).__name__)
    return value if value is None or read is None else read(value)


def _models(tables: tuple[str, ...]) -> list[Any]:
    found = MADE["tables"].items()
    return [_model(name, table["columns"]) for name, table in found if name.startswith(tables)]


def _model(table: str, columns: dict[str, list[Any]]) -> Any:
    with isolate_apps("tests.testapp"):
        fields: dict[str, Any] = {}
        for name, (kind, longest, is_null, is_key) in columns.items():
            options: dict[str, Any] = {"null": is_null, "primary_key": is_key}
            if kind == "CharField":
                options["max_length"] = longest
            if kind == "DecimalField":
                options |= {"max_digits": 9, "decimal_places": 6}
            fields[name] = getattr(models, kind)(**options)
        meta = type("Meta", (), {"db_table": table, "app_label": "testapp"})
        return type("Table", (models.Model,), {**fields, "Meta": meta, "__module__": __name__})

"""What our migrations do differently from Django's: columns altered together, and nothing lost on SQLite.

Which columns a migration alters stands in the migrations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import models
from django.db.migrations.operations import AlterField, SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation


class AlterColumns(Operation):
    """Alter columns of one model.

    SQLite cannot alter a column: Django copies the whole table, and would do so for each of them. Here it
    is copied once, and nothing is forgotten: see keeping().
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, model_name: str, fields: dict[str, models.Field[Any, Any]]) -> None:
        self.model_name, self.fields = model_name, fields

    def state_forwards(self, app_label: str, state: Any) -> None:
        for name, field in self.fields.items():
            AlterField(self.model_name, name, field).state_forwards(app_label, state)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        old = from_state.apps.get_model(app_label, self.model_name)
        new = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, new):
            return
        pairs = [(old._meta.get_field(name), new._meta.get_field(name)) for name in self.fields]
        if schema_editor.connection.vendor == "sqlite":
            with keeping(schema_editor, old._meta.db_table):
                schema_editor._remake_table(old, alter_fields=pairs)
            return
        for before, after in pairs:
            schema_editor.alter_field(old, before, after)

    # A state in which the columns are as before is what going back goes to.
    database_backwards = database_forwards

    def describe(self) -> str:
        return f"Alter {', '.join(self.fields)} on {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        return f"alter_{self.model_name.lower()}_columns"


class ChangeTable(SeparateDatabaseAndState):
    """Do Django's operations on one model.

    SQLite copies the table for some of them; nothing is forgotten: see keeping().
    """

    def __init__(self, model_name: str, operations: list[Operation]) -> None:
        super().__init__(database_operations=operations, state_operations=operations)
        self.model_name, self.operations = model_name, operations

    def deconstruct(self) -> Any:
        return type(self).__qualname__, [self.model_name, self.operations], {}

    def _kept(self, app_label: str, schema_editor: Any, state: Any) -> AbstractContextManager[None]:
        if schema_editor.connection.vendor != "sqlite":
            return nullcontext()
        return keeping(schema_editor, state.apps.get_model(app_label, self.model_name)._meta.db_table)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with self._kept(app_label, schema_editor, from_state):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with self._kept(app_label, schema_editor, from_state):
            super().database_backwards(app_label, schema_editor, from_state, to_state)

    def describe(self) -> str:
        return f"Change the table of {self.model_name}"


@contextmanager
def keeping(schema_editor: Any, table: str) -> Iterator[None]:
    """While an SQLite table is made anew under its name, keep what hangs on it but is no column of it.

    Its next id: the copy would begin behind the largest one that it holds, and give a message the id of
    one that is archived. Its triggers, which go with the old table. And triggers and views elsewhere that
    name it, which SQLite would not let pass while it is away.
    """
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s", [table])
        triggers = [sql for (sql,) in cursor.fetchall()]
        # It is not there yet when sqlmigrate only shows the statements for an empty database.
        cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'")
        last_id = cursor.fetchone()
        if last_id is not None:
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
            last_id = cursor.fetchone()
    schema_editor.execute("PRAGMA legacy_alter_table = ON")
    yield
    schema_editor.execute("PRAGMA legacy_alter_table = OFF")
    if last_id is not None:
        name = schema_editor.quote_value(table)
        schema_editor.execute(f"DELETE FROM sqlite_sequence WHERE name = {name}")
        schema_editor.execute(f"INSERT INTO sqlite_sequence (name, seq) VALUES ({name}, {last_id[0]})")
    for trigger in triggers:
        schema_editor.execute(trigger)

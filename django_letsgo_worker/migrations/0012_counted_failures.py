"""Let PostgreSQL count the dead letters of a failure by an index alone."""

from django.db import migrations, models

import django_letsgo_worker.models.indexes


class OnPostgreSQL(migrations.SeparateDatabaseAndState):
    """Do Django's operations on PostgreSQL; elsewhere they would only make the same index again."""

    def __init__(self, operations):
        super().__init__(database_operations=operations, state_operations=operations)

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)


INDEX = django_letsgo_worker.models.indexes.PartialIndex(
    fields=["error_fingerprint", "finished_at"],
    name="letsgo_archive_fingerprint",
    where=models.Q(("outcome", "dead")),
    covers=("type",),
)


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0011_few_listeners")]

    operations = [
        OnPostgreSQL(
            [
                migrations.RemoveIndex("archivedmessage", "letsgo_archive_fingerprint"),
                migrations.AddIndex("archivedmessage", INDEX),
            ]
        )
    ]

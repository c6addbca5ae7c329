"""Keep the idle queues out of PostgreSQL's write-ahead log: a worker writes there each time it rests."""

from django.db import migrations


def set_logging(kind):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            table = apps.get_model("django_letsgo_worker", "IdleQueue")._meta.db_table
            schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(table)} SET {kind}")

    return run


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0001_initial")]

    operations = [migrations.RunPython(set_logging("UNLOGGED"), set_logging("LOGGED"))]

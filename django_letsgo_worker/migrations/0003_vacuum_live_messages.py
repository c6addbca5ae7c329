"""Let PostgreSQL vacuum the live messages soon and without pauses: each of them becomes several dead rows."""

from django.db import migrations

SETTINGS = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_analyze_scale_factor": "0.1",
    "autovacuum_analyze_threshold": "1000",
    "autovacuum_vacuum_cost_delay": "0",
}


def alter(what):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            table = apps.get_model("django_letsgo_worker", "Message")._meta.db_table
            schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(table)} {what}")

    return run


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0002_postgresql_idle_queue_unlogged")]

    operations = [
        migrations.RunPython(
            alter(f"SET ({', '.join(f'{name} = {value}' for name, value in SETTINGS.items())})"),
            alter(f"RESET ({', '.join(SETTINGS)})"),
        )
    ]

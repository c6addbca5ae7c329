"""List for each queue the few workers that listen, and let the function of PostgreSQL tell two of them."""

from importlib import import_module

from django.db import migrations, models

from ._operations import ChangeTable

before = import_module("django_letsgo_worker.migrations.0010_other_producers")

TELLS_ALL = "PERFORM pg_notify('letsgo_worker', lane || ':' || rank);"
# As engines/postgresql/waiting.py does.
TELLS_FEW = f"""PERFORM pg_notify('letsgo_worker' || COALESCE('_' || few.listener, ''), lane || ':' || rank)
                FROM (VALUES (1)) AS always LEFT JOIN (
                    SELECT listener FROM {before.IDLE} i, unnest(string_to_array(i.listeners, ' ')) AS listener
                    WHERE i.name = lane ORDER BY random() LIMIT 2) AS few ON TRUE;"""


def tell_few(apps, schema_editor):
    assert before.FUNCTION.count(TELLS_ALL) == 1
    write(schema_editor, before.FUNCTION.replace(TELLS_ALL, TELLS_FEW))


def tell_all(apps, schema_editor):
    write(schema_editor, before.FUNCTION)


def write(schema_editor, function):
    if schema_editor.connection.vendor != "postgresql":
        return
    schema = before.schema_of_our_tables(schema_editor)
    # A router may keep our tables out of this database.
    if schema is not None:
        schema_editor.execute(function.format(schema=schema), params=None)


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0010_other_producers")]

    operations = [
        ChangeTable(
            "idlequeue",
            [migrations.AddField("idlequeue", "listeners", models.TextField(blank=True, db_default="", default=""))],
        ),
        migrations.RunPython(tell_few, tell_all),
    ]

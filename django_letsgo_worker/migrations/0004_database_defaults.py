"""Give each column that the program fills a default in the database, so that others can insert rows, too.

PostgreSQL, MariaDB and MySQL only note the defaults; SQLite copies each table once.
"""

import datetime

from django.db import migrations, models

from django_letsgo_worker.models.clock import Clock
from django_letsgo_worker.models.fields import ExactJSONField, JSONText, MomentField

from ._operations import AlterColumns


def message_columns():
    return {
        "payload": ExactJSONField(db_default=JSONText("null"), default=None, verbose_name="payload"),
        "headers": ExactJSONField(db_default=JSONText("{}"), default=dict, verbose_name="headers"),
        "visible_at": MomentField(db_default=Clock(), verbose_name="visible at"),
        "enqueued_at": MomentField(db_default=Clock(), verbose_name="enqueued at"),
        "errors": ExactJSONField(db_default=JSONText("[]"), default=list, verbose_name="errors"),
    }


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0003_vacuum_live_messages")]

    operations = [
        AlterColumns("message", message_columns()),
        AlterColumns(
            "archivedmessage",
            {
                **message_columns(),
                "finished_at": MomentField(db_default=Clock(), verbose_name="finished at"),
            },
        ),
        AlterColumns(
            "scheduledjob",
            {
                "payload": ExactJSONField(
                    blank=True, db_default=JSONText("null"), default=None, verbose_name="payload"
                ),
                "misfire_grace": models.DurationField(
                    db_default=datetime.timedelta(seconds=60),
                    default=datetime.timedelta(seconds=60),
                    verbose_name="late after",
                ),
                "created_at": MomentField(db_default=Clock(), editable=False, verbose_name="created at"),
                "updated_at": MomentField(db_default=Clock(), editable=False, verbose_name="updated at"),
            },
        ),
        AlterColumns("occurrence", {"fired_at": MomentField(db_default=Clock(), verbose_name="fired at")}),
        AlterColumns(
            "process",
            {
                "types": ExactJSONField(db_default=JSONText("[]"), default=list, verbose_name="types"),
                "started_at": MomentField(db_default=Clock(), verbose_name="started at"),
                "heartbeat_at": MomentField(db_default=Clock(), verbose_name="heartbeat at"),
                "state": models.CharField(
                    choices=[("running", "running"), ("draining", "draining"), ("stopped", "stopped")],
                    db_default="running",
                    default="running",
                    max_length=16,
                    verbose_name="state",
                ),
            },
        ),
        AlterColumns(
            "housekeeping", {"taken_at": MomentField(db_default=Clock(), verbose_name="taken at")}
        ),
    ]

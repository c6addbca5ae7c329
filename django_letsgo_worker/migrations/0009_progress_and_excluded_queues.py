"""Let a worker say how far its running messages are, and which queues it leaves to others."""

from django.db import migrations

from django_letsgo_worker.models.fields import ExactJSONField, JSONText

from ._operations import ChangeTable


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0008_schedules_at_scale")]

    operations = [
        ChangeTable(
            "process",
            [
                migrations.AddField(
                    "process",
                    "excluded_queues",
                    ExactJSONField("excluded queues", db_default=JSONText("[]"), default=list),
                ),
                migrations.AddField(
                    "process",
                    "progress",
                    ExactJSONField("progress", db_default=JSONText("{}"), default=dict),
                ),
            ],
        )
    ]

"""Keep what an edit of a schedule replaced, what its plan said, and an index of the live messages of schedules."""

from django.db import migrations, models

from django_letsgo_worker.models.fields import ExactJSONField, MomentField
from django_letsgo_worker.models.indexes import PartialIndex


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0004_database_defaults")]

    operations = [
        migrations.AddField(
            "scheduledjob",
            "next_planned_at",
            MomentField("next planned run", null=True, blank=True, editable=False),
        ),
        migrations.AddField(
            "scheduledjob", "unsettled", ExactJSONField("unsettled", null=True, blank=True, editable=False)
        ),
        migrations.AddIndex(
            "message",
            PartialIndex(
                fields=["scheduled_job_id"],
                name="letsgo_message_schedule",
                where=models.Q(scheduled_job_id__isnull=False),
            ),
        ),
    ]

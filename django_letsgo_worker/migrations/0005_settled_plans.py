"""Keep what an edit of a schedule replaced, and what its plan said."""

from django.db import migrations

from django_letsgo_worker.models.fields import ExactJSONField, MomentField


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0003_vacuum_live_messages")]

    operations = [
        migrations.AddField(
            "scheduledjob",
            "next_planned_at",
            MomentField("next planned run", null=True, blank=True, editable=False),
        ),
        migrations.AddField(
            "scheduledjob", "unsettled", ExactJSONField("unsettled", null=True, blank=True, editable=False)
        ),
    ]

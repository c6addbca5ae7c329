"""Let quiet schedules cost nothing, and add what people ask of schedules: exceptions, ends, pauses of all.

Some of the constraints on schedules change; SQLite copies the table for that.
"""

from django.db import migrations, models

from django_letsgo_worker.models.fields import ExactJSONField, JSONText, MomentField
from django_letsgo_worker.models.planned import LookAtIndex

from ._operations import ChangeTable

OVERLAPS = [
    ("allow", "run all the same"),
    ("skip", "skip while an earlier one is unfinished"),
    ("queue", "wait for the earlier one; one at most waits"),
    ("replace", "cancel the earlier one, and start when that has ended"),
]


def added(column, field):
    return migrations.AddField("scheduledjob", column, field)


def at_least_one(column, name):
    condition = models.Q((f"{column}__isnull", True), (f"{column}__gte", 1), _connector="OR")
    return migrations.AddConstraint("scheduledjob", models.CheckConstraint(condition=condition, name=name))


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0007_depths_and_types")]

    operations = [
        migrations.CreateModel(
            name="SchedulesPause",
            fields=[
                ("paused_at", MomentField("paused at", blank=True, null=True)),
                (
                    "paused_by",
                    models.CharField("paused by", blank=True, db_default="", default="", max_length=150),
                ),
                (
                    "pause_reason",
                    models.CharField("pause reason", blank=True, db_default="", default="", max_length=255),
                ),
                ("resume_at", MomentField("resume at", blank=True, null=True)),
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("resumed_at", MomentField("resumed at", blank=True, null=True)),
                (
                    "resumed_by",
                    models.CharField("resumed by", blank=True, db_default="", default="", max_length=150),
                ),
            ],
            options={
                "verbose_name": "pause of all schedules",
                "verbose_name_plural": "pauses of all schedules",
                "default_permissions": (),
            },
        ),
        migrations.AlterModelOptions(
            "scheduledjob",
            options={
                "permissions": [
                    ("run_scheduledjob", "Can run schedules now"),
                    ("switch_scheduledjob", "Can switch schedules on and off"),
                    ("backfill_scheduledjob", "Can backfill schedules"),
                ],
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
            },
        ),
        ChangeTable(
            "occurrence",
            [
                migrations.AddField(
                    "occurrence",
                    "is_backfill",
                    models.BooleanField("backfilled", db_default=False, default=False),
                )
            ],
        ),
        ChangeTable(
            "process",
            [
                migrations.AddField(
                    "process", "awake_since", MomentField("awake since", blank=True, null=True)
                ),
                migrations.AddField(
                    "process",
                    "overrunning",
                    ExactJSONField("overrunning", db_default=JSONText("[]"), default=list),
                ),
            ],
        ),
        ChangeTable(
            "scheduledjob",
            [
                added("except_on", models.TextField("not on", blank=True, db_default="", default="")),
                added("max_runs", models.PositiveIntegerField("runs at most", blank=True, null=True)),
                added(
                    "pause_after_failures",
                    models.PositiveSmallIntegerField("switch off after failures", blank=True, null=True),
                ),
                added(
                    "delete_when_over",
                    models.BooleanField("delete when over", db_default=False, default=False),
                ),
                added("runs", models.BigIntegerField("runs so far", db_default=0, default=0, editable=False)),
                added(
                    "waiting_message_id",
                    models.BigIntegerField("waiting message", blank=True, editable=False, null=True),
                ),
                added(
                    "waiting_behind",
                    ExactJSONField("waiting behind", blank=True, editable=False, null=True),
                ),
                migrations.AlterField(
                    "scheduledjob",
                    "overlap",
                    models.CharField(
                        "overlap", choices=OVERLAPS, db_default="allow", default="allow", max_length=8
                    ),
                ),
                migrations.RemoveConstraint("scheduledjob", "letsgo_schedule_overlap"),
                migrations.AddConstraint(
                    "scheduledjob",
                    models.CheckConstraint(
                        condition=models.Q(("overlap__in", tuple(name for name, _ in OVERLAPS))),
                        name="letsgo_schedule_overlaps",
                    ),
                ),
                at_least_one("max_runs", "letsgo_schedule_max_runs"),
                at_least_one("pause_after_failures", "letsgo_schedule_failures"),
                migrations.AddIndex(
                    "scheduledjob", LookAtIndex(fields=["resume_at"], name="letsgo_schedule_look")
                ),
            ],
        ),
    ]

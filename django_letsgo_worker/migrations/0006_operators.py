"""Add what operators see and steer by: statistics, failures, bulk operations, pauses of types."""

from django.db import migrations, models

from django_letsgo_worker.models.clock import Clock
from django_letsgo_worker.models.fields import BytewiseCharField, ExactJSONField, JSONText, MomentField
from django_letsgo_worker.models.indexes import PartialIndex


class Migration(migrations.Migration):
    dependencies = [
        ("django_letsgo_worker", "0005_settled_plans"),
    ]

    operations = [
        migrations.CreateModel(
            name="BulkOperation",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("retry", "retry"),
                            ("redrive", "redrive"),
                            ("discard", "discard"),
                            ("cancel", "cancel"),
                            ("move", "move"),
                        ],
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                ("filter", ExactJSONField(db_default=JSONText("{}"), default=dict, verbose_name="filter")),
                (
                    "to_queue",
                    BytewiseCharField(
                        blank=True, db_default="", default="", max_length=64, verbose_name="to queue"
                    ),
                ),
                ("over", models.DurationField(blank=True, null=True, verbose_name="over")),
                (
                    "by",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=150, verbose_name="by"
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=255, verbose_name="reason"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "waiting"),
                            ("running", "running"),
                            ("stopped", "stopped"),
                            ("undone", "undone"),
                            ("done", "done"),
                        ],
                        db_default="waiting",
                        default="waiting",
                        max_length=16,
                        verbose_name="state",
                    ),
                ),
                ("total", models.BigIntegerField(db_default=0, default=0, verbose_name="total")),
                ("done", models.BigIntegerField(db_default=0, default=0, verbose_name="done")),
                ("skipped", models.BigIntegerField(db_default=0, default=0, verbose_name="skipped")),
                ("given_back", models.BigIntegerField(db_default=0, default=0, verbose_name="given back")),
                ("last_id", models.BigIntegerField(db_default=0, default=0, verbose_name="last message")),
                ("last_at", MomentField(blank=True, null=True, verbose_name="end of the last message")),
                ("created_at", MomentField(db_default=Clock(), verbose_name="created at")),
                ("started_at", MomentField(blank=True, null=True, verbose_name="started at")),
                ("finished_at", MomentField(blank=True, null=True, verbose_name="finished at")),
            ],
            options={
                "verbose_name": "bulk operation",
                "verbose_name_plural": "bulk operations",
                "permissions": [
                    ("stop_bulkoperation", "Can stop bulk operations"),
                    ("undo_bulkoperation", "Can undo bulk operations"),
                ],
            },
        ),
        migrations.CreateModel(
            name="BulkOperationItem",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("message_id", models.BigIntegerField(verbose_name="message")),
                ("receipt", models.BigIntegerField(db_default=0, default=0, verbose_name="receipt")),
                ("before", ExactJSONField(db_default=JSONText("{}"), default=dict, verbose_name="before")),
            ],
            options={
                "verbose_name": "changed message",
                "verbose_name_plural": "changed messages",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Failure",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("fingerprint", models.CharField(max_length=40, verbose_name="fingerprint")),
                ("type", BytewiseCharField(max_length=255, verbose_name="type")),
                (
                    "error_class",
                    BytewiseCharField(
                        blank=True, db_default="", default="", max_length=255, verbose_name="error class"
                    ),
                ),
                ("message", models.TextField(blank=True, default="", verbose_name="message")),
                ("first_at", MomentField(verbose_name="first at")),
                ("last_at", MomentField(verbose_name="last at")),
                ("count", models.BigIntegerField(db_default=0, default=0, verbose_name="count")),
                ("recent", ExactJSONField(db_default=JSONText("[]"), default=list, verbose_name="recent")),
                (
                    "versions",
                    ExactJSONField(db_default=JSONText("[]"), default=list, verbose_name="versions"),
                ),
                (
                    "last_message_id",
                    models.BigIntegerField(blank=True, null=True, verbose_name="last message"),
                ),
                ("last_traceback", models.TextField(blank=True, default="", verbose_name="last traceback")),
            ],
            options={
                "verbose_name": "failure",
                "verbose_name_plural": "failures",
            },
        ),
        migrations.CreateModel(
            name="PausedType",
            fields=[
                ("paused_at", MomentField(blank=True, null=True, verbose_name="paused at")),
                (
                    "paused_by",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=150, verbose_name="paused by"
                    ),
                ),
                (
                    "pause_reason",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=255, verbose_name="pause reason"
                    ),
                ),
                ("resume_at", MomentField(blank=True, null=True, verbose_name="resume at")),
                (
                    "name",
                    BytewiseCharField(max_length=255, primary_key=True, serialize=False, verbose_name="name"),
                ),
            ],
            options={
                "verbose_name": "paused type",
                "verbose_name_plural": "paused types",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Statistic",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", MomentField(verbose_name="at")),
                ("span", models.SmallIntegerField(db_default=60, default=60, verbose_name="span")),
                ("queue", BytewiseCharField(max_length=64, verbose_name="queue")),
                ("type", BytewiseCharField(max_length=255, verbose_name="type")),
                ("succeeded", models.BigIntegerField(db_default=0, default=0, verbose_name="succeeded")),
                ("failed", models.BigIntegerField(db_default=0, default=0, verbose_name="failed")),
                ("dead", models.BigIntegerField(db_default=0, default=0, verbose_name="dead")),
                ("cancelled", models.BigIntegerField(db_default=0, default=0, verbose_name="cancelled")),
                ("expired", models.BigIntegerField(db_default=0, default=0, verbose_name="expired")),
                ("run", ExactJSONField(db_default=JSONText("{}"), default=dict, verbose_name="run time")),
                ("wait", ExactJSONField(db_default=JSONText("{}"), default=dict, verbose_name="wait time")),
            ],
            options={
                "verbose_name": "statistic",
                "verbose_name_plural": "statistics",
            },
        ),
        migrations.AlterModelOptions(
            name="message",
            options={
                "permissions": [
                    ("redrive_message", "Can redrive dead letters"),
                    ("cancel_message", "Can cancel messages"),
                    ("retry_message", "Can retry messages at once"),
                    ("move_message", "Can move messages to another queue"),
                    ("view_payload", "Can view payloads"),
                ],
                "verbose_name": "message",
                "verbose_name_plural": "messages",
            },
        ),
        migrations.AlterModelOptions(
            name="process",
            options={
                "permissions": [
                    ("stop_process", "Can stop processes"),
                    ("forget_process", "Can forget processes"),
                ],
                "verbose_name": "process",
                "verbose_name_plural": "processes",
            },
        ),
        migrations.AlterModelOptions(
            name="queue",
            options={
                "permissions": [
                    ("pause_queue", "Can pause queues"),
                    ("purge_queue", "Can purge queues"),
                    ("pause_type", "Can pause types"),
                ],
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
            },
        ),
        migrations.AddField(
            model_name="message",
            name="error_fingerprint",
            field=models.CharField(blank=True, max_length=40, null=True, verbose_name="error fingerprint"),
        ),
        migrations.AddIndex(
            model_name="message",
            index=PartialIndex(
                fields=["error_fingerprint"],
                name="letsgo_message_fingerprint",
                where=models.Q(("error_fingerprint__isnull", False)),
            ),
        ),
        migrations.AddField(
            model_name="bulkoperationitem",
            name="operation",
            field=models.ForeignKey(
                on_delete=models.CASCADE, related_name="items", to="django_letsgo_worker.bulkoperation"
            ),
        ),
        migrations.AddIndex(
            model_name="failure",
            index=models.Index(fields=["last_at"], name="letsgo_failure_last"),
        ),
        migrations.AddConstraint(
            model_name="failure",
            constraint=models.UniqueConstraint(fields=("type", "fingerprint"), name="letsgo_failure_once"),
        ),
        migrations.AddConstraint(
            model_name="statistic",
            constraint=models.UniqueConstraint(
                fields=("span", "at", "queue", "type"), name="letsgo_statistic_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkoperationitem",
            constraint=models.UniqueConstraint(
                fields=("operation", "message_id"), name="letsgo_operation_item_once"
            ),
        ),
    ]

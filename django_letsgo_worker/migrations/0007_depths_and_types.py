"""Record how many messages were due each minute, and add a model for the page of types."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_letsgo_worker", "0006_operators")]

    operations = [
        migrations.AddField(
            "statistic", "depth", models.IntegerField("depth", default=0, db_default=0)
        ),
        migrations.CreateModel(
            name="MessageType",
            fields=[],
            options={
                "verbose_name": "type",
                "verbose_name_plural": "types",
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("django_letsgo_worker.pausedtype",),
        ),
    ]

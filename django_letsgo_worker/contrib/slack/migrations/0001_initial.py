from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="SlackTurn",
            fields=[
                ("id", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ("holder", models.UUIDField(blank=True, null=True, verbose_name="holder")),
                ("free_at", models.DateTimeField(verbose_name="free at")),
            ],
            options={
                "verbose_name": "Slack turn",
                "verbose_name_plural": "Slack turns",
                "default_permissions": (),
            },
        ),
    ]

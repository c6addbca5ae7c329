from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="invoice",
            name="parcel_message_id",
            field=models.BigIntegerField(editable=False, null=True),
        ),
    ]

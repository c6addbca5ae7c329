"""A backfill of django-maintenance-tasks: a job of ours for each two users, as MAX_RUNTIME is 0."""

from django.contrib.auth.models import User
from maintenance_tasks import MaintenanceTask


class GiveFirstNames(MaintenanceTask):
    batch_size = 2

    def collection(self):
        return User.objects.filter(first_name="")

    def process(self, user):
        user.first_name = user.username.title()
        user.save(update_fields=["first_name"])

"""A project that still has celery-beat, django-q2 and django-tasks-db: what `letsgo import` is tried on."""

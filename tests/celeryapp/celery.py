"""The Celery app of the project, as Celery's guide for Django has it."""

from celery import Celery
from celery.schedules import crontab

app = Celery("celeryapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

app.conf.beat_schedule = {
    "tidy-every-morning": {
        "task": "celeryapp.tasks.tidy",
        "schedule": crontab(minute=30, hour=6, day_of_week="mon-fri"),
        "args": (7,),
    },
    "tidy-on-friday-the-13th": {
        "task": "celeryapp.tasks.tidy",
        "schedule": crontab(minute=0, hour=0, day_of_month="13", day_of_week="fri"),
        "kwargs": {"days": 1},
        "options": {"queue": "slow", "expires": 3600},
    },
    "poll": {"task": "celeryapp.tasks.poll", "schedule": 30.0},
}

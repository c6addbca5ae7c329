"""The settings of every contestant that lives in a Django project: what differs comes from the contestant."""

from __future__ import annotations

import json
import os

import environ

SECRET_KEY = "only-for-benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# A connection stays open, as under a web server that is set up well.
DATABASES = {"default": {**environ.Env().db("DATABASE_URL"), "CONN_MAX_AGE": None}}

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; "
        f"PRAGMA synchronous={os.environ['LETSGO_BENCH_SYNCHRONOUS']};",
    }

# No contestant writes a line for each message.
TALKATIVE = (
    "django_letsgo_worker",
    "django.tasks",
    "django_tasks",
    "django_tasks_db",
    "django_ox",
    "dj_queue",
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {name: {"handlers": ["console"], "level": "WARNING"} for name in TALKATIVE},
}

globals().update(json.loads(os.environ["LETSGO_BENCH_SETTINGS"]))

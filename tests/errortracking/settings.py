"""The settings of the tests, with the admins' mails in files, each with the variables of its traceback."""

import os

import django

from tests.testapp.settings import *  # noqa: F403
from tests.testapp.settings import INSTALLED_APPS, LOGGING

INSTALLED_APPS = [*INSTALLED_APPS, "django_letsgo_worker.contrib.sentry"]
LETSGO_SENTRY_CHECK_INS = ["*"]

ADMINS = [("Admin", "admin@example.com")]
BACKEND, FOLDER = "django.core.mail.backends.filebased.EmailBackend", os.environ["ERRORTRACKING_MAILS"]
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"file_path": FOLDER}}}
else:
    EMAIL_BACKEND, EMAIL_FILE_PATH = BACKEND, FOLDER
LOGGING = {
    **LOGGING,
    "handlers": {
        **LOGGING["handlers"],
        "mail": {"class": "django.utils.log.AdminEmailHandler", "include_html": True, "level": "WARNING"},
    },
    "root": {"handlers": ["mail"]},
}

"""The settings of the tests, with the admins' mails in files, each with the variables of its traceback."""

import os

from tests.testapp.settings import *  # noqa: F403
from tests.testapp.settings import LOGGING

ADMINS = [("Admin", "admin@example.com")]
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = os.environ["ERRORTRACKING_MAILS"]
LOGGING = {
    **LOGGING,
    "handlers": {
        **LOGGING["handlers"],
        "mail": {"class": "django.utils.log.AdminEmailHandler", "include_html": True, "level": "WARNING"},
    },
    "root": {"handlers": ["mail"]},
}

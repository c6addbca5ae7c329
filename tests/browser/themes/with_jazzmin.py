"""The settings of the tests, in a site whose admin wears django-jazzmin."""

from tests.testapp.settings import *  # noqa: F403
from tests.testapp.settings import INSTALLED_APPS

INSTALLED_APPS = ["jazzmin", *INSTALLED_APPS]

# As the reader's system has it, light or dark.
JAZZMIN_UI_TWEAKS = {"default_theme_mode": "auto"}

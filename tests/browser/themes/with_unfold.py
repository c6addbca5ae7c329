"""The settings of the tests, in a site whose admin wears django-unfold."""

from tests.testapp.settings import *  # noqa: F403
from tests.testapp.settings import INSTALLED_APPS

INSTALLED_APPS = ["unfold", *INSTALLED_APPS]

"""The settings of the tests, with tasks: for processes that a test starts."""

from tests.testapp.settings import *  # noqa: F403
from tests.testapp.settings import INSTALLED_APPS

from . import TASKS  # noqa: F401

INSTALLED_APPS = [*INSTALLED_APPS, "tests.taskapp"]

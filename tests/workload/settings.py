"""The shop's settings and this app: what tests run on, and what their manage.py processes are given."""

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.workload"]

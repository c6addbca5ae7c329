"""The site with nothing but our backend's name in TASKS."""

from tests.compatibility import settings
from tests.compatibility.wagtailsite.settings import *  # noqa: F403

TASKS = settings.TASKS

"""The settings of Wagtail's own tests, with our app and a backend that drains each task at once."""

import atexit
import os
from typing import Any

from wagtail.test.settings import *  # noqa: F403
from wagtail.test.settings import INSTALLED_APPS

from django_letsgo_worker.backend import LetsGoBackend

INSTALLED_APPS = [*INSTALLED_APPS, "django_letsgo_worker"]
MEDIA_ROOT = os.environ["MEDIA_ROOT"]
TASKS = {"default": {"BACKEND": f"{__name__}.Draining", "QUEUES": []}}


class Draining(LetsGoBackend):
    drained = 0

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        from django_letsgo_worker.testing import drain

        result = super().enqueue(task, args, kwargs)
        Draining.drained += drain()
        return result


atexit.register(lambda: print(f"Drained {Draining.drained} tasks"))

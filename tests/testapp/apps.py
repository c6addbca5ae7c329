"""The test app as an entry of INSTALLED_APPS."""

import os

from django.apps import AppConfig


class TestAppConfig(AppConfig):
    name = "tests.testapp"
    label = "testapp"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        without = os.environ.get("TESTAPP_WITHOUT", "")
        if without:
            from .guards import switch_off

            switch_off(without)
        point = os.environ.get("TESTAPP_KILL_AT", "")
        if point:
            from .guards import kill_at

            kill_at(point)

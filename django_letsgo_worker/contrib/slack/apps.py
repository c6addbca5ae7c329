"""The Django app: its reserved types, its checks, and what it listens to."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _


class SlackConfig(AppConfig):
    """django_letsgo_worker.contrib.slack as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.slack"
    label = "letsgo_slack"
    verbose_name = _("Slack")
    default_auto_field = "django.db.models.BigAutoField"
    letsgo_types = ("letsgo:slack", "letsgo:slack:dead", "letsgo:tenant:new", "letsgo:tenant:deleted")

    def ready(self) -> None:
        from . import checks, receivers

        # A tag of its own: a worker looks at "letsgo_worker" alone, and works without Slack.
        register(checks.check_slack, self.label)
        receivers.connect()

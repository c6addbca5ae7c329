"""The Django app: its reserved types, and the checks of its settings, which never show the URL."""

from collections.abc import Iterator
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from ...hints import suggestion
from . import conf


class SlackConfig(AppConfig):
    """django_letsgo_worker.contrib.slack as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.slack"
    label = "letsgo_slack"
    verbose_name = _("Slack")
    default_auto_field = "django.db.models.BigAutoField"
    letsgo_types = ("letsgo:slack", "letsgo:slack:dead", "letsgo:tenant:new", "letsgo:tenant:deleted")

    def ready(self) -> None:
        from . import outbox

        # Not under "letsgo_worker", the tag that a worker runs at start: it works without Slack.
        checks.register(check_slack, self.label)
        outbox.connect()


def check_slack(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Return everything that is wrong with the settings."""
    try:
        return [*_check_url(), *_check_switches()]
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="letsgo_slack.E003")]


def _check_url() -> Iterator[checks.CheckMessage]:
    url = conf.slack_url()
    if url and (problem := conf.problem_of(url)):
        yield checks.Error(problem, id="letsgo_slack.E001")


def _check_switches() -> Iterator[checks.CheckMessage]:
    for name in conf.switches():
        if name not in conf.SWITCHES:
            hint = suggestion(name, list(conf.SWITCHES)).strip()
            yield checks.Error(
                f"LETSGO_SLACK_NOTIFY names {name!r}, which is not one of {', '.join(conf.SWITCHES)}.",
                hint=hint or None,
                id="letsgo_slack.E002",
            )
    conf.notifies_of_stripe("")

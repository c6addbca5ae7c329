"""What `manage.py check` says about this app's settings; never the URL itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from ...conf import suggestion
from . import conf


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

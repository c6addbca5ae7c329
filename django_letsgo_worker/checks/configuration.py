"""Checks of LETSGO_WORKER, of the Django settings that it needs, and of the commands' names.

Only checks that need no database are here, and the tags that say which checks are made when.
Those that read rows have Django's tag `database`: they are made when it is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands

from .. import context, payloads, registry, schedules
from ..conf import Settings, settings
from ..errors import InvalidSchedule
from ..hints import suggestion
from ..inspection import alias_of_queue

# Workers and schedulers make these when they start, too, and refuse to start on an error.
AT_START = "letsgo_worker"
# For the project to know; workers do not repeat them at each start.
PROJECT = "letsgo_project"
# How long a heartbeat may take on a busy host, in seconds; three of them should fit into a lease.
SLOW_HEARTBEAT = 1.0
APP = "django_letsgo_worker"
# Another name of the same command, where there is one.
OTHER_NAMES = {"runworker": "Use `manage.py letsgo worker run`, which is the same, or move"}


@register(AT_START)
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report errors in the settings."""
    try:
        alias = settings().database
    except ImproperlyConfigured as error:
        return [Error(str(error), id="letsgo_worker.E001")]
    return [*_check_alias(alias), *_check_time_zone(alias)]


def _check_alias(alias: str) -> Iterator[CheckMessage]:
    if alias not in django_settings.DATABASES:
        yield Error(
            f"LETSGO_WORKER names the database {alias!r}, which is not in DATABASES.", id="letsgo_worker.E002"
        )


def _check_time_zone(alias: str) -> Iterator[CheckMessage]:
    if not django_settings.USE_TZ:
        yield Error(
            "django_letsgo_worker needs USE_TZ = True: without it stored times are ambiguous.",
            id="letsgo_worker.E003",
        )
    zone = django_settings.DATABASES.get(alias, {}).get("TIME_ZONE")
    if zone not in (None, "UTC"):
        yield Error(
            f"django_letsgo_worker needs its database in UTC, but TIME_ZONE of {alias!r} is {zone!r}.",
            hint="Remove TIME_ZONE from this entry of DATABASES.",
            id="letsgo_worker.E004",
        )


@register(AT_START)
def check_encoder(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report an ENCODER that cannot write payloads."""
    if alias_of_queue() is None:
        return []
    try:
        payloads.as_json(None)
    except ImproperlyConfigured as error:
        return [Error(str(error), id="letsgo_worker.E011")]
    return []


@register(PROJECT)
def check_built_in_schedule(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report a built-in schedule that cannot be read; schedulers refuse it themselves, workers need none."""
    if alias_of_queue() is None:
        return []
    try:
        schedules.declared_in_settings()
    except InvalidSchedule as error:
        return [Error(str(error), id="letsgo_worker.E005")]
    return []


@register(PROJECT)
def check_autodiscover(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report module names that no app has: a slip would silently leave handlers out."""
    if alias_of_queue() is None:
        return []
    known = list(Settings().autodiscover)
    return [
        Warning(
            f"LETSGO_WORKER['AUTODISCOVER'] names {name!r}, but no installed app has a module of that name."
            f"{suggestion(name, known)}",
            id="letsgo_worker.W016",
        )
        for name in settings().autodiscover
        if name not in known and not any(registry.modules_named(name))
    ]


@register(PROJECT)
def check_context(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report missing carriers; messages are sent without what they would carry."""
    if alias_of_queue() is None:
        return []
    hint = "Define it with django_letsgo_worker.context.carrier(), in a module that every process imports."
    return [
        Warning(f"LETSGO_WORKER: {sentence}", hint=hint, id="letsgo_worker.W013")
        for sentence in context.unknown_carriers()
    ]


@register(PROJECT, deploy=True)
def check_lease(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report a lease that is too short for three heartbeats."""
    if alias_of_queue() is None or settings().lease_seconds >= 3 * SLOW_HEARTBEAT:
        return []
    lease = settings().lease_seconds
    return [
        Warning(
            f"A lease of {lease:g} s leaves {lease / 3:.2g} s for each of its three heartbeats: after a "
            "short pause of a process, or of the database, others claim messages that it still handles.",
            hint=f"Set LETSGO_WORKER['LEASE_SECONDS'] to {3 * SLOW_HEARTBEAT:g} or more; 30 is the default.",
            id="letsgo_worker.W005",
        )
    ]


@register(PROJECT)
def check_commands(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report our commands that another app hides: Channels has a runworker too, and the first app wins."""
    owners = get_commands()
    return [
        Warning(
            f"`manage.py {name}` runs the command of {owners[name]!r}, which hides that of {APP!r}.",
            hint=f"{OTHER_NAMES.get(name, 'Move')} {APP!r} above {owners[name]!r} in INSTALLED_APPS.",
            id="letsgo_worker.W006",
        )
        for name in ("runworker", "runscheduler", "letsgo")
        if owners[name] != APP
    ]

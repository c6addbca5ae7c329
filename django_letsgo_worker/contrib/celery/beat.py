"""The schedules of beat_schedule, declared like those of @schedule: schedulers bring their rows in step.

What runs a schedule is `manage.py runscheduler`; schedules.py here reads Celery's expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings as django_settings

from ... import declarations, planning, recurrence, registry
from ...declarations import Declared
from ...hints import no_option
from ...validation import encode
from . import values
from .exceptions import UnsupportedCelery
from .ids import PREFIX
from .schedules import expression_of

KEYS = ("args", "kwargs", "options", "relative", "schedule", "task")
# Options of an entry, and the field of a schedule that each is.
OPTIONS = {"expires": "deadline", "priority": "priority", "queue": "queue"}


def declare(app: Any) -> None:
    """Declare the entries of an app; UnsupportedCelery or InvalidSchedule for what cannot be one."""
    zone = str(app.conf.timezone or django_settings.TIME_ZONE)
    for name, entry in app.beat_entries().items():
        declarations.add(declared(name, entry, zone))


def declared(name: str, entry: Mapping[str, Any], zone: str) -> Declared:
    """Return an entry as a declared schedule, on the clock of `zone`."""
    if unknown := [key for key in entry if key not in KEYS]:
        raise TypeError(no_option(f"The entry {name!r} of beat_schedule", unknown, KEYS))
    if entry.get("relative"):
        raise UnsupportedCelery(
            f"The entry {name!r} of beat_schedule has relative=True, which is not here: write a crontab()."
        )
    expression = expression_of(entry["schedule"])
    recurrence.Recurrence.parse(expression, zone)
    args, kwargs = list(entry.get("args") or ()), dict(entry.get("kwargs") or {})
    payload = values.plain(f"The entry {name!r} of beat_schedule", {"args": args, "kwargs": kwargs})
    encode("payload", payload, None)
    return Declared(
        name=name,
        schedule=expression,
        type=PREFIX + entry["task"],
        timezone=zone,
        payload=payload,
        fields=_fields(name, entry["task"], entry.get("options") or {}),
        place=f"beat_schedule[{name!r}]",
    )


def _fields(name: str, task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    for option in options:
        if option not in OPTIONS:
            raise UnsupportedCelery(
                f"The entry {name!r} of beat_schedule has the option {option!r}, and a schedule has only "
                f"{', '.join(OPTIONS)}."
            )
    given = dict(options)
    known = registry.find(PREFIX + task)
    own = getattr(getattr(known and known.function, "task", None), "expires", None)
    if own is not None and not isinstance(own, datetime):
        given.setdefault("expires", own)
    return planning.as_columns({OPTIONS[option]: value for option, value in given.items()})

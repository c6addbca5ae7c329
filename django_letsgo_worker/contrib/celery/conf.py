"""The settings of a Celery app: assigned, from an object such as Django's settings, or defaults.

Nothing is read before it is asked for: the module of an app is imported while settings are being made.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.module_loading import import_string

from ...hints import suggestion
from .exceptions import UnsupportedCelery

# The settings that count here, and what they are where nobody sets them.
DEFAULTS: dict[str, Any] = {
    "beat_schedule": None,
    "imports": (),
    "include": (),
    "task_always_eager": False,
    "task_default_priority": None,
    "task_default_queue": None,
    "task_eager_propagates": False,
    "task_ignore_result": False,
    "task_routes": None,
    "timezone": None,
}
# Settings about a broker, a store of results, or what is always so here: they are not missed.
NOT_NEEDED = frozenset(
    (
        "accept_content", "enable_utc", "event_serializer", "result_accept_content", "result_backend",
        "result_extended", "result_persistent", "result_serializer", "task_acks_late",
        "task_create_missing_queues", "task_default_exchange", "task_default_routing_key",
        "task_publish_retry", "task_publish_retry_policy", "task_reject_on_worker_lost",
        "task_send_sent_event", "task_serializer", "task_store_errors_even_if_ignored",
        "task_track_started", "beat_scheduler", "beat_max_loop_interval", "beat_schedule_filename",
        "worker_hijack_root_logger", "worker_prefetch_multiplier", "worker_send_task_events",
    )
)  # fmt: skip
NOT_NEEDED_BEGIN = ("broker_", "cache_", "cassandra_", "database_", "mongodb_", "redis_", "s3_")
SERIALIZERS = ("task_serializer", "result_serializer", "accept_content", "result_accept_content")


class Conf:
    """`app.conf`: settings as attributes and as keys, in lower case."""

    _assigned: dict[str, Any]
    _source: Any
    _prefix: str

    def __init__(self) -> None:
        self.__dict__.update(_assigned={}, _source=None, _prefix="")

    def read_from(self, source: Any, namespace: str | None) -> None:
        """Take what is not assigned from an object, a mapping, or the path of either, when it is asked for.

        With a `namespace`, names are in capitals behind it: CELERY_TASK_ROUTES. Without one they are in lower
        case: UnsupportedCelery for Django's settings, which are not.
        """
        if not namespace and str(source).partition(":")[0] == "django.conf":
            raise UnsupportedCelery(
                "Django's settings are read with a namespace: config_from_object('django.conf:settings', "
                "namespace='CELERY'), and then CELERY_TASK_ROUTES is task_routes."
            )
        self.__dict__.update(_source=source, _prefix=f"{namespace}_".upper() if namespace else "")

    def update(self, *given: Any, **assigned: Any) -> None:
        """Assign several settings, given as for a dictionary."""
        self._assigned.update(*given, **assigned)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting, or `default` if nobody sets it."""
        if name in self._assigned:
            return self._assigned[name]
        source, key = self._object(), self.as_written(name)
        if isinstance(source, Mapping):
            return source.get(key, default)
        return default if source is None else getattr(source, key, default)

    def names(self) -> list[str]:
        """Return the names of the settings that are set."""
        source = self._object()
        given = source if isinstance(source, Mapping) else () if source is None else dir(source)
        return sorted({*self._assigned, *(name for each in given if (name := self._name_in(each)))})

    def as_written(self, name: str) -> str:
        """Return the name of a setting as the project writes it."""
        return f"{self._prefix}{name.upper()}" if self._prefix else name

    def _name_in(self, key: str) -> str | None:
        """Return the name of the setting that a key of the source sets; None for anything else in there."""
        if self._prefix:
            return key.removeprefix(self._prefix).lower() if key.startswith(self._prefix) else None
        return key if key.islower() and not key.startswith("_") else None

    def _object(self) -> Any:
        return _imported(self._source) if isinstance(self._source, str) else self._source

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self.get(name, DEFAULTS.get(name))
        if value is None and name not in DEFAULTS and name not in self.names():
            raise AttributeError(f"Celery's setting {name!r} is not set.{suggestion(name, DEFAULTS)}")
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        self._assigned[name] = value

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError as error:
            raise KeyError(str(error)) from None

    __setitem__ = __setattr__


def _imported(path: str) -> Any:
    """Import what Celery's path names: a module, or an object behind a colon or a dot."""
    module, _, name = path.partition(":")
    if name:
        return getattr(importlib.import_module(module), name)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return import_string(path)


def without_effect(conf: Conf) -> list[str]:
    """Return the settings, as the project writes them, that change nothing here though one may think so."""
    names = [name for name in conf.names() if name not in DEFAULTS and name not in NOT_NEEDED]
    return [conf.as_written(name) for name in names if not name.startswith(NOT_NEEDED_BEGIN)]


def pickling(conf: Conf) -> list[str]:
    """Return the settings, as the project writes them, that ask for another serializer than JSON."""
    return [
        conf.as_written(name)
        for name in SERIALIZERS
        if any("json" not in str(one) for one in _listed(conf.get(name)))
    ]


def _listed(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value

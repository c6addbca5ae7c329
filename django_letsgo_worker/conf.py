"""LETSGO_WORKER and its environment: one frozen, validated object.

Nothing is read at import; settings() reads once and again after Django's setting_changed. A block of
on_database() has another alias than the one that they name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import environ
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .backoff import NAMED, Backoff, check_backoff
from .errors import InvalidMessage
from .hints import nearest, suggestion
from .policies import NO_POLICIES, Policies
from .policies import read as read_policies
from .validation import check_name, show

NAME = "LETSGO_WORKER"

DEFAULT_REDACT = ("password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "cookie",
                  "credential", "private_key", "card", "cvc", "iban", "ssn")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The project's settings, validated; times are in seconds, sizes in bytes, keep-times in days.

    `queues` None means all; `poll_seconds` None means 2 with LISTEN and 1 without;
    `max_payload_bytes` and `max_result_bytes` None lift the limit; a keep-time of 0 keeps nothing.
    """

    database: str = "default"
    queues: tuple[str, ...] | None = None
    concurrency: int = 8
    lease_seconds: float = 30.0
    drain_seconds: float = 25.0
    poll_seconds: float | None = None
    max_attempts: int = 10
    backoff: Backoff = "10m"
    max_payload_bytes: int | None = 262_144
    max_result_bytes: int | None = 1_048_576
    keep_succeeded_for: float = 7.0
    keep_dead_for: float = 30.0
    keep_occurrences_for: float = 30.0
    keep_statistics_for: float = 2.0
    keep_hourly_statistics_for: float = 90.0
    redact: tuple[str, ...] = DEFAULT_REDACT
    schedule: str = "rate(1 hour)"
    schedule_timezone: str = "UTC"
    autodiscover: tuple[str, ...] = ("handlers", "tasks")
    imports: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    close_connections: bool = False
    types: Policies = NO_POLICIES
    encoder: str = ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value.strip()


def _some_text(value: Any) -> str:
    text = _text(value)
    if not text:
        raise ValueError("must not be empty")
    return text


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(v, str) for v in value):
        raise ValueError("must be a list of names")
    return tuple(sorted(value) if isinstance(value, (set, frozenset)) else value)


def _modules(value: Any) -> tuple[str, ...]:
    names = _names(value)
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError("must list names of modules, such as handlers")
    return names


def _queues(value: Any) -> tuple[str, ...] | None:
    if value is None or value in ("all", "*"):
        return None
    names = _names(value)
    for name in names:
        try:
            check_name("queue", name)
        except InvalidMessage as error:
            raise ValueError(f"must list names of queues ({error})") from None
    return names or None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except ValueError:
        raise ValueError("must be a number") from None
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():
        return int(value)
    number = _number(value)
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def _between(low: float, high: float, read: Callable[[Any], Any] = _number) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        number = read(value)
        if number < low:
            raise ValueError(f"must be at least {low:g}")
        if number > high:
            raise ValueError(f"must be at most {high:g}")
        return number

    return check


def _yes_or_no(value: Any) -> bool:
    """Return a truth value; in the environment it is text, in the words that django-environ reads."""
    said = value.strip().lower() if isinstance(value, str) else value
    if said is True or said in environ.Env.BOOLEAN_TRUE_STRINGS:
        return True
    if said is False or said in ("false", "off", "no", "n", "0"):
        return False
    raise ValueError("must be True or False")


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        return None if value is None or value in ("None", "none") else read(value)

    return check


def _backoff(value: Any) -> Backoff:
    """Return a back-off; in the environment numbers are text: 30, or 1,5,60."""
    if isinstance(value, str) and value not in NAMED:
        parts = [part.strip() for part in value.split(",")]
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            return check_backoff(value)
        return check_backoff(numbers if len(numbers) > 1 else numbers[0])
    return check_backoff(value)


def _policies(value: Any) -> Policies:
    """Return policies; in the environment they are an object of JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("must be JSON: patterns, and options for each") from None
    return read_policies(value)


def _path(value: Any) -> str:
    text = "" if value is None else _text(value)
    if text and not all(part.isidentifier() for part in text.split(".")):
        raise ValueError("must be a dotted path, such as django.core.serializers.json.DjangoJSONEncoder")
    return text


DAY, CENTURY, GIBIBYTE = 86_400.0, 36_500.0, 1 << 30

_READERS: dict[str, Callable[[Any], Any]] = {
    "DATABASE": _some_text,
    "QUEUES": _queues,
    "CONCURRENCY": _between(1, 10_000, _whole),
    "LEASE_SECONDS": _between(1, DAY),
    "DRAIN_SECONDS": _between(0, DAY),
    "POLL_SECONDS": _or_none(_between(0.05, DAY)),
    "MAX_ATTEMPTS": _between(1, 32_000, _whole),
    "BACKOFF": _backoff,
    "MAX_PAYLOAD_BYTES": _or_none(_between(1, GIBIBYTE, _whole)),
    "MAX_RESULT_BYTES": _or_none(_between(1, GIBIBYTE, _whole)),
    "KEEP_SUCCEEDED_FOR": _between(0, CENTURY),
    "KEEP_DEAD_FOR": _between(0, CENTURY),
    "KEEP_OCCURRENCES_FOR": _between(0, CENTURY),
    "KEEP_STATISTICS_FOR": _between(0, CENTURY),
    "KEEP_HOURLY_STATISTICS_FOR": _between(0, CENTURY),
    "REDACT": _names,
    "SCHEDULE": _text,
    "SCHEDULE_TIMEZONE": _some_text,
    "AUTODISCOVER": _modules,
    "IMPORTS": _names,
    "CONTEXT": _names,
    "CLOSE_CONNECTIONS": _yes_or_no,
    "TYPES": _policies,
    "ENCODER": _path,
}
# Empty variables of the environment are ignored, except for these settings.
_MAY_BE_EMPTY = ("SCHEDULE", "AUTODISCOVER", "IMPORTS", "CONTEXT", "REDACT")


def _refuse_unknown(given: dict[str, Any], environment: Mapping[str, str]) -> None:
    for key in given:
        if key not in _READERS:
            hint = suggestion(str(key).upper(), sorted(_READERS))
            raise ImproperlyConfigured(f"{NAME} has no setting {key!r}.{hint}")
    for variable in environment:
        key = variable.removeprefix(f"{NAME}_")
        # Only likely typos: Kubernetes sets variables with our prefix for a service of our name.
        if key != variable and key not in _READERS and nearest(key, _READERS, cutoff=0.8):
            hint = suggestion(variable, [f"{NAME}_{known}" for known in _READERS])
            raise ImproperlyConfigured(f"The environment variable {variable} is not a setting.{hint}")


def load(given: dict[str, Any], environment: Mapping[str, str]) -> Settings:
    """Validate one dict and one environment; ImproperlyConfigured names the setting and the reason."""
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"{NAME} must be a dictionary.")
    _refuse_unknown(given, environment)
    env = environ.Env()
    env.ENVIRON = environment
    values: dict[str, Any] = {}
    for key, read in _READERS.items():
        variable = f"{NAME}_{key}"
        where, value = f"{NAME}[{key!r}]", given.get(key, ...)
        if environment.get(variable) or (variable in environment and key in _MAY_BE_EMPTY):
            where, value = variable, env.str(variable)
        if value is ...:
            continue
        try:
            values[key.lower()] = read(value)
        except ValueError as error:
            raise ImproperlyConfigured(f"{where} is {show(value)}: it {error}.") from None
    return Settings(**values)


# The alias of the block that runs, for each thread and async task; None is the one that DATABASE names.
_block: ContextVar[str | None] = ContextVar("letsgo_database", default=None)


def settings() -> Settings:
    """Return the project's settings, read at the first call; in a block of on_database() with its alias."""
    return _settings_on(_block.get())


@cache
def _settings_on(alias: str | None) -> Settings:
    if alias is not None:
        return replace(_settings_on(None), database=alias)
    return load(getattr(django_settings, NAME, {}), dict(environ.Env.ENVIRON))


@contextmanager
def on_database(alias: str | None) -> Iterator[None]:
    """Do all that the block does without naming an alias on this one, as if DATABASE named it.

    It holds for this thread or async task, and for the tasks that the block starts. None changes nothing.
    """
    token = _block.set(_block.get() if alias is None else alias)
    try:
        yield
    finally:
        _block.reset(token)


def configured_alias() -> str:
    """Return the alias that DATABASE names, whatever block runs."""
    return _settings_on(None).database


def further_alias() -> str | None:
    """Return the alias of the block that runs; None if it is the one that DATABASE names."""
    alias = settings().database
    return None if alias == configured_alias() else alias


def check_alias(alias: str) -> None:
    """Refuse an alias that DATABASES does not have."""
    if alias not in django_settings.DATABASES:
        known = ", ".join(django_settings.DATABASES)
        raise ImproperlyConfigured(f"There is no database {alias!r} in DATABASES, which has {known}.")


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == NAME:
        _settings_on.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_letsgo_worker.conf")

KEYS = tuple(_READERS)

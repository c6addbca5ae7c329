"""The registry of handlers, type -> handler and its options: `@handler` fills it, all else reads it.

Importing handlers.py modules is here too (autodiscover); running a handler is the worker's.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import module_has_submodule

from . import functions, typed, validation
from .backoff import Backoff
from .conf import settings
from .errors import DuplicateHandler, InvalidMessage, UnknownType
from .functions import Place
from .hints import nearest, with_hints
from .policies import ExceptionClass, Exceptions, HandlerOptions, Policies, checked

if TYPE_CHECKING:
    from .delivery import Delivery

F = TypeVar("F", bound="Callable[[Delivery], Any] | Callable[[], Any]")
P = TypeVar("P")
R = TypeVar("R")

logger = logging.getLogger("django_letsgo_worker.worker")

# A type with this prefix is refused unless this app, or another one that lists it, defines it: a later
# release can then use a name without taking yours.
RESERVED = "letsgo:"
# The types of this app itself. Optional apps name theirs in `letsgo_types` of their AppConfig.
OURS = frozenset({"letsgo:scheduled"})
SHIPPED = "django_letsgo_worker."
# Where messages go that nothing sends elsewhere.
DEFAULT_QUEUE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function registered for a type, and how it wants to be run.

    None for queue, priority, max_attempts or backoff means: what the settings say. `timeout` is in
    seconds. With `where`, it is for payloads whose top-level keys have these values.
    """

    type: str
    function: Callable[..., Any]
    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    atomic: bool = False
    where: Mapping[str, Any] = field(default_factory=dict)
    retry_on: tuple[ExceptionClass | str, ...] | None = None
    give_up_on: tuple[ExceptionClass | str, ...] = ()
    succeed_on: tuple[ExceptionClass | str, ...] = ()
    on_dead: str | None = None
    # "arguments": one live message for each payload.
    unique: str | None = None
    # Days, for what did not die; None: what the settings say.
    keep_for: float | None = None
    # Raises InvalidMessage for a payload that the function cannot be called with.
    check: Callable[[Any], None] | None = field(default=None, compare=False, repr=False)
    # Where the code registers it; None: where the function stands.
    registered: Place | None = field(default=None, compare=False, repr=False)
    # Stored, since each delivery needs it.
    is_async: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", functions.is_async(self.function))
        if self.registered is None:
            object.__setattr__(self, "registered", functions.place_of(self.function))

    @property
    def dotted(self) -> str:
        return functions.dotted(self.function)

    @property
    def place(self) -> str:
        """The place of the function, for people: module, name and line."""
        assert self.registered is not None
        _, line = self.registered.lines[0]
        return f"{self.dotted} (line {line})" if line else self.dotted

    def is_replaced_by(self, new: Handler) -> bool:
        """Whether `new` is this one, registered again: its module was reloaded, or its line ran once more."""
        assert self.registered is not None and new.registered is not None
        if new.registered.is_after_reload_of(self.registered):
            return True
        is_same = (new.dotted, new.where) == (self.dotted, self.where)
        return is_same and new.registered.is_again(self.registered)

    @property
    def is_shipped(self) -> bool:
        return functions.module_of(self.function).startswith(SHIPPED)

    def matches(self, payload: Any) -> bool:
        return isinstance(payload, dict) and all(
            key in payload and payload[key] == value for key, value in self.where.items()
        )

    def may_tie_with(self, other: Handler) -> bool:
        """Whether a payload can match both, with nothing to say which is meant."""
        shared = self.where.keys() & other.where.keys()
        return len(self.where) == len(other.where) and all(
            self.where[key] == other.where[key] for key in shared
        )


_handlers: dict[str, list[Handler]] = {}
_lock = threading.Lock()


@overload
def handler(type: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...


@overload
def handler(
    type: type[P], **options: Unpack[HandlerOptions]
) -> Callable[[Callable[[Delivery[P]], R]], Callable[[Delivery[P]], R]]: ...


@with_hints("@handler")
def handler(
    type: Any, *, queue: str | None = None, priority: int | None = None, max_attempts: int | None = None,
    backoff: Any = None, timeout: float | None = None, atomic: bool = False,
    where: Mapping[str, Any] | None = None, retry_on: Exceptions | None = None, give_up_on: Exceptions = (),
    succeed_on: Exceptions = (), on_dead: str | None = None, unique: str | None = None,
    keep_for: float | None = None,
) -> Any:  # fmt: skip
    """Register the function below for messages of `type`; it is given one Delivery, or nothing.

    `type` is text, or a @message_type class: the payloads are then its objects.

    `queue`, `priority` (-100 to 100, larger is sooner) and `max_attempts` (1 to 32000) are written into each
    message when it is enqueued; the rest is read where it runs. None means what the settings say. `backoff`
    is the pause before the next attempt: "1m", "10m", "1h", seconds, a list of seconds, or a function of
    attempt and exception that returns seconds, or None to give up. `timeout` is in seconds: an async handler
    is cancelled, a plain one sees `delivery.should_stop`. `atomic=True` runs a plain function in one
    transaction with its acknowledgement: its rows in this database exist once, or not at all. `where` narrows
    it to payloads whose top-level keys equal these values.

    `retry_on`, `give_up_on` and `succeed_on` are exception classes: one of `give_up_on` makes the message a
    dead letter at once, and with `retry_on` so does any exception that is not among them; with one of
    `succeed_on` it counts as done. `on_dead` is the type of a message that is enqueued in the transaction
    that makes a dead letter.

    With `unique="arguments"` at most one message of the same payload waits or runs, as if that were its
    unique_key. `keep_for` is how many days an ended message is kept, unless it died; 0 keeps nothing of it.

    What a pattern in the setting TYPES says about the type takes precedence over all of this.

    Raises InvalidMessage for bad options, TypeError for a function that cannot be a handler, DuplicateHandler
    when another function is registered for the same messages.
    """
    return _registering(type, atomic, checked(
        queue=queue, priority=priority, max_attempts=max_attempts, backoff=backoff, timeout=timeout,
        where=where, retry_on=retry_on, give_up_on=give_up_on, succeed_on=succeed_on, on_dead=on_dead,
        unique=unique, keep_for=keep_for,
    ))  # fmt: skip


def _registering(type: Any, atomic: bool, options: dict[str, Any]) -> Callable[[F], F]:
    message = typed.find(type)
    name = validation.check_name("type", type if message is None else message.type)
    check_reserved(name)

    def register(function: F) -> F:
        call = functions.with_delivery(function)
        _check_function(name, call, atomic)
        handle = call if message is None else typed.reading(message, call)
        place = functions.place_of(function, sys._getframe(1))
        add(Handler(type=name, function=handle, atomic=atomic, registered=place, **options))
        return function

    return register


def _check_function(type: str, function: Callable[..., Any], atomic: bool) -> None:
    if (why := functions.misfit(function, None)) is not None:
        raise TypeError(f"The handler of {type!r} is called with a delivery and nothing else: {why}.")
    if (why := functions.unfit(function, atomic=atomic)) is not None:
        raise TypeError(f"The handler of {type!r} {why}.")


def check_reserved(type: str) -> None:
    """Refuse a `letsgo:` type that no installed app defines (InvalidMessage)."""
    if not type.startswith(RESERVED) or type in OURS or type in _handlers:
        return
    if any(type in getattr(config, "letsgo_types", ()) for config in apps.get_app_configs()):
        return
    raise InvalidMessage(
        f"The type {type!r} is refused: types that begin with 'letsgo:' are reserved for "
        "django_letsgo_worker. Choose another prefix."
    )


def add(new: Handler) -> None:
    """Register a handler. A project's replaces one that we ship; two of a project's are an error.

    A handler that is registered again, by a reload or by a notebook's cell, replaces its earlier self.
    """
    with _lock:
        kept = []
        for old in _handlers.get(new.type, []):
            if old.is_replaced_by(new):
                continue
            if bool(old.where) == bool(new.where) and old.may_tie_with(new):
                if new.is_shipped and not old.is_shipped:
                    return
                if not old.is_shipped or new.is_shipped:
                    raise DuplicateHandler(new.type, *_places(old, new))
                continue
            kept.append(old)
        # Most keys first, so that the first match is the one that is meant.
        _handlers[new.type] = sorted([*kept, new], key=lambda one: -len(one.where))
        _ruled.pop(new.type, None)


def _places(*handlers: Handler) -> list[str]:
    """Return the places of handlers, for people; where a decorator hides the difference, with its line."""
    places = [one.place for one in handlers]
    if len(set(places)) < len(places):
        used = [one.registered.lines[-1] for one in handlers if one.registered is not None]
        return [
            f"{place} in {module}, line {line}" for place, (module, line) in zip(places, used, strict=True)
        ]
    return places


def choose(type: str, payload: Any) -> Handler:
    """Return the handler for this payload; UnknownType when the type has none at all.

    If none of the type's handlers matches, the message counts as done, and one line in the log says so.
    """
    candidates = _in_force(type)
    if not candidates:
        raise UnknownType(type)
    plain = candidates[-1]
    for candidate in candidates:
        # A project's plain handler beats our own `where=` handlers.
        if candidate.where and candidate.is_shipped and not (plain.where or plain.is_shipped):
            continue
        if not candidate.where or candidate.matches(payload):
            return candidate
    return Handler(type=type, function=_log_unmatched)


def _log_unmatched(delivery: Delivery) -> None:
    logger.info("No handler of %s matches message %s: nothing to do.", delivery.type, delivery.message_id)


def is_narrowed(type: str) -> bool:
    """Whether the handler of a type depends on the payload."""
    known = _handlers.get(type)
    # The narrowest comes first.
    return bool(known and known[0].where)


def find(type: str) -> Handler | None:
    """Return the handler of a type whatever the payload: the plain one, or any; None when there is none."""
    candidates = _in_force(type)
    return candidates[-1] if candidates else None


def check_payload(type: str, payload: Any) -> None:
    """Refuse a payload that the function of its type says it cannot be called with (InvalidMessage)."""
    known = find(type)
    if known is not None and known.check is not None:
        known.check(payload)


def behind(thing: Any) -> Handler | None:
    """Return the handler that an object stands for: the function below @handler, or a task; or None."""
    return next((one for one in handlers() if _stands_for(thing, one.function)), None)


def _stands_for(thing: Any, function: Any) -> bool:
    task = getattr(function, "task", None)
    if any(thing is one for one in (function, getattr(function, "__wrapped__", function), task)):
        return True
    # A copy of a task, for another queue.
    return thing.__class__ is task.__class__ and getattr(thing, "func", thing) is getattr(task, "func", None)


def like(type: str) -> str | None:
    """Return the registered type that is spelled most like this one; None when none is near."""
    return nearest(type, types())


def get(type: str) -> Handler:
    """See find(); UnknownType when there is none."""
    found = find(type)
    if found is None:
        raise UnknownType(type)
    return found


def types() -> list[str]:
    """Return all registered types, sorted."""
    return sorted(_handlers)


def handlers() -> list[Handler]:
    """Return all registered handlers, by type, the narrowest of a type first."""
    return [one for type in types() for one in _in_force(type)]


def kept_for() -> dict[str, float]:
    """Return the types that have a keep-time of their own, in days."""
    return {one.type: one.keep_for for one in handlers() if one.keep_for is not None}


# By the policies of the settings, which are other objects once they change: handlers under their rule.
_ruled: dict[str, list[Handler]] = {}
_ruled_by: Policies | None = None


def _in_force(type: str) -> list[Handler]:
    """Return the handlers of a type, with what the setting TYPES says about it in place of their options."""
    try:
        policies = settings().types
    except ImproperlyConfigured:
        # A check says so, and asks for the handlers too.
        return _handlers.get(type, [])
    if not policies or type not in _handlers:
        return _handlers.get(type, [])
    global _ruled_by
    with _lock:
        if policies is not _ruled_by:
            _ruled.clear()
            _ruled_by = policies
        if type not in _ruled:
            options = policies.of(type)
            _ruled[type] = [replace(one, **options) for one in _handlers[type]]
        return _ruled[type]


_followers: dict[str, Callable[[str, str | None], bool]] = {}


def follow_deaths(type: str, wanted: Callable[[str, str | None], bool]) -> None:
    """Enqueue a message of `type` after each death that is wanted, as if every handler named it in on_dead.

    `wanted` is called with the type of the dead message, and with the name of its schedule if it has one.
    """
    _followers[type] = wanted


def following(dead: str, schedule: str | None, on_dead: str | None) -> list[str]:
    """Return the types of the messages that follow a death; a type never follows itself."""
    types = [on_dead] if on_dead is not None else []
    for type, wanted in _followers.items():
        try:
            types += [type] if wanted(dead, schedule) else []
        except Exception:
            # Whatever is wrong with it, the death is recorded.
            logger.exception("Could not find out whether %s follows the death of %s.", type, dead)
    return [type for type in dict.fromkeys(types) if type != dead]


def remove(type: Any) -> None:
    """Forget the handlers of a type, or of a @message_type class, for tests."""
    message = typed.find(type)
    name = type if message is None else message.type
    with _lock:
        _handlers.pop(name, None)
        _ruled.pop(name, None)


def autodiscover(imports: Sequence[str] = (), *, names: Sequence[str] = ("handlers",)) -> None:
    """Import the modules of these names of every installed app, then those in `imports`.

    Our own handlers are always included. An error in a module is raised as it is: a handler that is silently
    missing is worse.
    """
    ours = [module for module in modules_named("handlers") if module.startswith(SHIPPED)]
    for module in (*ours, *(module for name in names for module in modules_named(name)), *imports):
        importlib.import_module(module)


def modules_named(name: str) -> Iterator[str]:
    """Yield the dotted names of the installed apps' modules of this name."""
    for config in apps.get_app_configs():
        if module_has_submodule(config.module, name):
            yield f"{config.name}.{name}"

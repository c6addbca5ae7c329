"""Typed messages: the class that the payloads of a type have, and the way from an object to JSON and back.

pydantic checks them (the extra `typed`); which function handles the type is registry.py's.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from . import functions, validation
from .errors import DuplicateMessageType, InvalidMessage
from .functions import Place

if TYPE_CHECKING:
    from .delivery import Delivery

C = TypeVar("C", bound=type)
_Class = type
Ways = tuple[Callable[[Any], Any], Callable[[Any], Any]]


class Unfit(Exception):
    """A value that does not fit: where it is, and why. The value itself is not shown: it is a payload."""

    def __init__(self, path: tuple[str | int, ...], why: str) -> None:
        super().__init__(why)
        self.path = path
        self.why = why


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _Model(Protocol):
    @property
    def model_dump_json(self) -> Callable[..., str]: ...


# As much as a type checker can see of an object whose class has @message_type above it.
TypedMessage = _Dataclass | _Model


@dataclasses.dataclass(frozen=True, slots=True)
class MessageType:
    """A class whose objects are the payloads of a type."""

    type: str
    cls: _Class
    # Both raise Unfit: from an object to plain JSON values, and from those to an object.
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    # Where the code registers it.
    place: Place

    def plain(self, message: Any) -> Any:
        """Return the payload of an object, checked by making an object from it again (InvalidMessage)."""
        try:
            payload = self.dump(message)
            validation.encode("payload", payload, None)
            self.load(payload)
        except Unfit as unfit:
            raise self._refusal(unfit) from None
        except InvalidMessage:
            raise
        except (ValueError, RecursionError) as error:
            raise InvalidMessage(f"An object of {self.cls.__qualname__} is not JSON: {error}.") from None
        return payload

    @validation.private()
    def read(self, payload: Any) -> Any:
        """Return the object of a payload (InvalidMessage)."""
        try:
            return self.load(payload)
        except Unfit as unfit:
            # The error behind it may show the payload, and errors are kept and logged.
            raise self._refusal(unfit) from None

    @property
    def where(self) -> str:
        """The place of the class, for people."""
        return f"{_dotted(self.cls)} (line {self.place.lines[-1][1]})"

    def is_replaced_by(self, new: MessageType) -> bool:
        """Whether `new` is this one, registered again: its module was reloaded, or its line ran once more."""
        is_same = _dotted(new.cls) == _dotted(self.cls)
        return new.place.is_after_reload_of(self.place) or (is_same and new.place.is_again(self.place))

    def _refusal(self, unfit: Unfit) -> InvalidMessage:
        place = validation.path_text("payload", unfit.path)
        return InvalidMessage(f"{place} does not fit {self.cls.__qualname__}: {unfit.why.rstrip('.')}.")


_by_type: dict[str, MessageType] = {}
_by_class: dict[type, MessageType] = {}
_lock = threading.Lock()


def message_type(type: str) -> Callable[[C], C]:
    """Make objects of the dataclass below (or pydantic model) messages of `type`.

    `type` is text of letters, digits and the signs _ . : -, at most 255. enqueue() takes the objects, and a
    handler of the class is given them. Payloads of the type are checked against the annotations wherever one
    is enqueued or scheduled, and again before a handler of the class. Raises InvalidMessage for a class that
    cannot be checked, DuplicateMessageType when another class has the type.
    """
    validation.check_name("type", type)

    def register(cls: C) -> C:
        dump, load = _ways_of(cls)
        _add(MessageType(type, cls, dump, load, functions.place_of(cls, sys._getframe(1))))
        return cls

    return register


def _add(new: MessageType) -> None:
    with _lock:
        old = _by_type.get(new.type)
        if old is not None and not old.is_replaced_by(new):
            raise DuplicateMessageType(new.type, old.where, new.where)
        before = _by_class.get(new.cls)
        if before is not None and before.type != new.type:
            raise InvalidMessage(f"{_dotted(new.cls)} is already the message type {before.type!r}.")
        _by_type[new.type] = _by_class[new.cls] = new


def _dotted(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def find(cls: Any) -> MessageType | None:
    """Return the message type that a class is; None for anything else."""
    return _by_class.get(cls) if isinstance(cls, type) else None


def check(type: str, payload: str) -> None:
    """Refuse JSON that does not fit the class of its type, where the type has one (InvalidMessage)."""
    message = _by_type.get(type)
    if message is not None:
        message.read(json.loads(payload))


def remove(type: str) -> None:
    """Forget the class of a type, for tests."""
    if (old := _by_type.pop(type, None)) is not None:
        del _by_class[old.cls]


def reading(message: MessageType, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as a handler of plain payloads: it is given the object."""
    if functions.is_async(function):

        @wraps(function)
        async def handle_async(delivery: Delivery) -> Any:
            return await function(_with_object(message, delivery))

        return handle_async

    @wraps(function)
    def handle(delivery: Delivery) -> Any:
        return function(_with_object(message, delivery))

    return handle


def _with_object(message: MessageType, delivery: Delivery) -> Delivery:
    return dataclasses.replace(delivery, payload=message.read(delivery.payload))


# -- how a class is checked ---------------------------------------------------------------------------------


def _ways_of(cls: type) -> Ways:
    """Return both ways through pydantic: from an object to plain JSON values, and back."""
    try:
        # Imported here: messages that are dictionaries need no pydantic.
        from pydantic import PydanticUserError, TypeAdapter, ValidationError
    except ImportError:
        raise InvalidMessage(
            f"{_dotted(cls)} is checked by pydantic 2, which is not installed: "
            "pip install 'django-letsgo-worker[typed]'."
        ) from None
    own_rules = hasattr(cls, "__pydantic_validator__")
    if not own_rules and not dataclasses.is_dataclass(cls):
        raise InvalidMessage(
            f"{_dotted(cls)} is not a dataclass: @message_type goes above @dataclass, or a pydantic model."
        )
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(cls)
    except (PydanticUserError, NameError) as error:
        sentence = str(error).partition("\n")[0].rstrip(".")
        raise InvalidMessage(f"{_dotted(cls)} cannot be a message type: {sentence}.") from None
    # A dataclass states no rules, so nothing is coerced; classes made for pydantic say what they coerce.
    strict = None if own_rules else True

    def load(payload: Any) -> Any:
        try:
            return adapter.validate_json(validation.exact_json(payload), strict=strict)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            why = first["msg"]
            raise Unfit(first["loc"], why[:1].lower() + why[1:]) from None

    def dump(message: Any) -> Any:
        return adapter.dump_python(message, mode="json", by_alias=True, round_trip=True, warnings=False)

    return dump, load

"""Validation of messages: payloads, names and options, checked in Python before any SQL.

Nothing here knows rows or handlers; each refusal is an InvalidMessage of one sentence.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, wraps
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from .errors import InvalidMessage, LetsGoError

MAX_DEPTH = 20
MAX_TEXT = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9_.:-]+")
_LONGEST = {"type": 255, "queue": 64}
# The last instant that every engine can store.
END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
# A length of time as people type it, here and on the command line.
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)

# Gives back an object as what JSON has, or raises TypeError: the `default` of a JSON encoder.
Default = Callable[[Any], Any]


def show(value: Any, longest: int = 80) -> str:
    """Return a short repr for sentences; never raises."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest // 2]}...{text[-longest // 4 :]}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, for sentences."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


# -- what errors show ---------------------------------------------------------------------------------------

P = ParamSpec("P")
R = TypeVar("R")


def private(*kinds: type[Exception]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Strip their frames from our errors, and from errors of these `kinds`, when they leave a function.

    The variables of such frames hold payloads, and error trackers send the variables of a traceback.
    """
    caught: tuple[type[Exception], ...] = (LetsGoError, *kinds)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except caught as error:
                refusal = without_frames(error)
            del args, kwargs
            raise refusal

        @wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                return await function(*args, **kwargs)  # type: ignore[misc]
            except caught as error:
                refusal = without_frames(error)
            del args, kwargs
            raise refusal

        return call_async if inspect.iscoroutinefunction(function) else call  # type: ignore[return-value]

    return decorate


def without_frames(error: Exception) -> Exception:
    """Remove the frames of an error, and those of the errors that it was raised from."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


# -- names and numbers ----------------------------------------------------------------------------------


def check_name(what: str, value: Any) -> str:
    """Return a type or queue name, or refuse it: letters, digits and _.:- only."""
    if not isinstance(value, str):
        # Other queues enqueue functions, and their decorators need no brackets: a likely slip.
        if isinstance(value, FunctionType):
            raise InvalidMessage(f"A {what} is text such as 'order:new', not the function {value.__name__}.")
        raise InvalidMessage(f"A {what} is text, not {type(value).__name__}.")
    if not _NAME.fullmatch(value):
        raise InvalidMessage(
            f"The {what} {show(value)} is refused: use letters, digits and the signs _ . : - only."
        )
    if len(value) > _LONGEST[what]:
        raise InvalidMessage(f"The {what} {show(value)} is longer than {_LONGEST[what]} characters.")
    # A member of a StrEnum is text too, but not to every database driver.
    return str.__str__(value)


def check_priority(value: Any) -> int:
    """Return a priority: a whole number from -100 to 100, larger is sooner."""
    return _whole("A priority", value, -100, 100)


def check_max_attempts(value: Any) -> int:
    """Return the number of attempts allowed: a whole number from 1 to 32000."""
    return _whole("max_attempts", value, 1, 32_000)


def _whole(what: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidMessage(f"{what} is a whole number from {low} to {high}, not {show(value)}.")
    return int(value)


def check_unique_key(value: Any) -> str:
    """Return a unique key: 1 to 200 characters of text."""
    if not isinstance(value, str) or not value:
        raise InvalidMessage(f"unique_key is text of 1 to 200 characters, not {show(value)}.")
    if len(value) > 200:
        raise InvalidMessage(f"unique_key is longer than 200 characters: {show(value)}.")
    _check_text("unique_key", value)
    return str.__str__(value)


# -- times ------------------------------------------------------------------------------------------------


def check_timeout(value: Any) -> float:
    """Return a time-out in seconds."""
    return check_seconds("timeout", value, least_exclusive=True)


def duration(text: str) -> timedelta | None:
    """Return the length of time that text such as 1h30m means; None for other text (OverflowError)."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def check_seconds(what: str, value: Any, *, least_exclusive: bool = False) -> float:
    """Return a length of time, given in seconds or as a timedelta, in seconds."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidMessage(f"{what} is a number of seconds or a timedelta, not {show(value)}.")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise InvalidMessage(f"{what} must be finite, not {show(value)}.")
    if seconds < 0 or (least_exclusive and seconds == 0):
        least = "be more than zero" if least_exclusive else "not be negative"
        raise InvalidMessage(f"{what} must {least}, not {show(value)}.")
    try:
        fits = datetime.now(UTC) + timedelta(seconds=seconds) < END_OF_TIME
    except OverflowError:
        fits = False
    if not fits:
        raise InvalidMessage(f"{what} reaches beyond the year 9999.")
    return seconds


def check_delay(what: str, value: Any, *, least_exclusive: bool = False) -> float:
    """Return a length of time in seconds: see check_seconds(), or text such as 90s, 10m, 1h30m or 2d."""
    try:
        length = duration(value) if isinstance(value, str) else None
    except OverflowError:
        length = timedelta.max
    if isinstance(value, str) and length is None:
        raise InvalidMessage(
            f"{what} is a number of seconds or a timedelta, or text such as 90s, 10m, 1h30m or 2d, "
            f"not {show(value)}."
        )
    return check_seconds(what, value if length is None else length, least_exclusive=least_exclusive)


def check_moment(what: str, value: Any) -> datetime:
    """Return an instant in UTC; a naive datetime is refused, since its zone is unknown."""
    if not isinstance(value, datetime):
        raise InvalidMessage(f"{what} is an aware datetime, not {show(value)}.")
    if value.utcoffset() is None:
        raise InvalidMessage(
            f"{what} needs a time zone: {value.isoformat()} is a naive datetime. "
            "django.utils.timezone.make_aware() gives it the project's."
        )
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        moment = END_OF_TIME
    if moment >= END_OF_TIME:
        raise InvalidMessage(f"{what} is out of range: {value.isoformat()}.")
    return moment


# -- payloads ---------------------------------------------------------------------------------------------


@cache
def _writer(default: Default | None) -> Callable[[Any], str]:
    """Return what writes JSON: compact, in UTF-8, no NaN; RecursionError for a value that contains itself."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=default)
    if c_make_encoder is None:
        return encoder.encode
    # What encode() makes anew for each value, which takes longer than to write a small one.
    write = c_make_encoder(None, encoder.default, encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(write(value, 0))


_write_exactly = _writer(None)


def exact_json(value: Any) -> str:
    """Return the one JSON text that this app writes for a value: compact, in UTF-8, no NaN."""
    return _write_exactly(value)


def encode(what: str, value: Any, max_bytes: int | None, default: Default | None = None) -> str:
    """Return the JSON text of a payload.

    Refused, with the path inside it named: what JSON does not have (sets, datetimes, models), keys
    that are not text, NaN and infinities, NUL, lone surrogates, more than 20 containers deep, and
    more than max_bytes bytes. Tuples become lists, and what JSON does not have what `default` makes of it.
    """
    _Walk(what, max_bytes, default).check(value, (), 0)
    try:
        text = _writer(default)(value)
    except ValueError as error:  # an integer of more digits than Python writes
        raise InvalidMessage(f"{what} cannot be written as JSON: {error}.") from None
    if max_bytes is not None and len(text) * 4 > max_bytes and (size := len(text.encode())) > max_bytes:
        raise InvalidMessage(_too_large(what, f"{size} bytes", max_bytes))
    return text


def _too_large(what: str, size: str, max_bytes: int) -> str:
    return (
        f"{what} has {size} as JSON; at most {max_bytes} are allowed. "
        "Store it and send its key, or raise MAX_PAYLOAD_BYTES."
    )


class _Walk:
    """A check of every value in a payload; the path becomes text only when something is refused."""

    def __init__(self, what: str, max_bytes: int | None, default: Default | None) -> None:
        self.what = what
        self.max_bytes = max_bytes
        self.default = default
        # Each value takes at least a byte: without this, lists that repeat one list would be walked for ever.
        self.left = math.inf if max_bytes is None else max_bytes

    def check(self, value: Any, path: tuple[Any, ...], depth: int) -> None:
        kind = type(value)
        if kind is str:
            if "\0" in value or not value.isascii():
                _check_text(self.name(path), value)
        elif kind is int or kind is bool or value is None:
            return
        elif isinstance(value, (dict, list, tuple)):
            self.container(value, path, depth)
        elif isinstance(value, float):
            if not math.isfinite(value):
                self.refuse(path, f"is {show(value)}: JSON has no NaN and no infinities")
        elif isinstance(value, str):
            _check_text(self.name(path), value)
        elif not isinstance(value, int):
            self.other(value, path, depth)

    def other(self, value: Any, path: tuple[Any, ...], depth: int) -> None:
        """Check what `default` makes of an object; refuse one of which it makes nothing."""
        kind = type(value).__name__
        try:
            made = self.default(value) if self.default is not None else value
        except (TypeError, ValueError):
            made = value
        if not (made is None or isinstance(made, (str, int, float, dict, list, tuple))):
            self.refuse(
                path,
                f"is of type {kind}, which is not JSON: "
                "use text, numbers, booleans, None, lists and dictionaries",
            )
        self.check(made, path, depth)

    def container(self, value: Any, path: tuple[Any, ...], depth: int) -> None:
        if depth == MAX_DEPTH:
            self.refuse(path, f"is nested deeper than {MAX_DEPTH} levels")
        self.left -= len(value)
        if self.left < 0 and self.max_bytes is not None:
            raise InvalidMessage(_too_large(self.what, f"more than {self.max_bytes} bytes", self.max_bytes))
        if not isinstance(value, dict):
            for index, item in enumerate(value):
                self.check(item, (*path, index), depth + 1)
            return
        for key, item in value.items():
            if not isinstance(key, str):
                self.refuse(path, f"has the key {show(key, 40)}: keys must be text")
            if "\0" in key or not key.isascii():
                _check_text(f"a key of {self.name(path)}", key)
            self.check(item, (*path, key), depth + 1)

    def name(self, path: tuple[Any, ...]) -> str:
        return path_text(self.what, path)

    def refuse(self, path: tuple[Any, ...], why: str) -> None:
        raise InvalidMessage(f"{self.name(path)} {why}.")


def _check_text(path: str, value: str) -> None:
    if "\0" in value:
        raise InvalidMessage(f"{path} contains a NUL character, which databases cannot store.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidMessage(f"{path} contains a lone surrogate, which is not valid Unicode.") from None


def path_text(what: str, path: tuple[Any, ...]) -> str:
    """Return the name of a place inside a value, such as payload.lines[0], for a sentence."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    text = storable(what + "".join(steps))
    return text if len(text) <= 120 else f"{text[:60]}...{text[-40:]}"


def storable(text: str, limit: int = MAX_TEXT) -> str:
    """Return text that every engine can store: NUL and surrogates replaced, cut at `limit` bytes.

    The cut is in the middle: both the beginning and the end of a traceback matter.
    """
    data = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    mark = "... [cut] ..."
    room = limit - len(mark)
    if room <= 0:
        return data[:limit].decode("utf-8", "ignore")
    head, tail = data[: room - room // 2], data[len(data) - room // 2 :]
    return head.decode("utf-8", "ignore") + mark + tail.decode("utf-8", "ignore")

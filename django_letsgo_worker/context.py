"""Context carriers: facts that go with a message from the code that enqueues it to the code that handles it.

The setting CONTEXT names those that are used; what they carry stands in the message's headers. What a tracer
makes of it is no part of this: it registers a carrier.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from django.utils import translation

from . import validation
from .conf import settings
from .hints import suggestion

if TYPE_CHECKING:
    from .delivery import Delivery

logger = logging.getLogger("django_letsgo_worker.context")

# The most that one carrier may add to a message, in bytes of JSON.
MOST_BYTES = 4096
TRACE_HEADERS = ("traceparent", "tracestate")

_correlation_id: ContextVar[str | None] = ContextVar("letsgo_correlation_id", default=None)
_trace: ContextVar[Mapping[str, str] | None] = ContextVar("letsgo_trace", default=None)


class Carrier(Protocol):
    def capture(self) -> dict[str, Any]:
        """Return the headers that go with a message."""

    def restore(self, delivery: Delivery) -> AbstractContextManager[Any] | None:
        """Return a context manager to enter around the handler; None when the message carries nothing."""


class Sender(Carrier, Protocol):
    """A carrier that also surrounds each INSERT of messages, those of schedules too."""

    def sending(self, sending: Sending) -> AbstractContextManager[Any]:
        """Return a context manager to enter around the INSERT; it may add headers when it is entered."""


@dataclass(slots=True, eq=False)
class Sending:
    """Messages around their INSERT.

    `rows` are the messages, checked and complete, their payload and headers as JSON text; `is_batch` says
    that one enqueue_many() made them. After the INSERT `ids` are there, in order, and `created` is False if
    instead of a new message the live one of its key was given back, or replaced.
    """

    # Of engines.NewRow, a floor above this one.
    rows: list[Any]
    is_batch: bool = False
    ids: Sequence[int] = ()
    created: bool = True

    def add(self, headers: Mapping[str, Any], place: int | None = None) -> None:
        """Add headers, of at most 4096 bytes, to the row at a place, or to all; those that it has win."""
        if not headers:
            return
        validation.encode("what a carrier adds", dict(headers), MOST_BYTES)
        joined: dict[str, str] = {}
        for at in range(len(self.rows)) if place is None else (place,):
            text = self.rows[at].headers
            if text not in joined:
                joined[text] = validation.exact_json({**headers, **json.loads(text)})
            self.rows[at] = replace(self.rows[at], headers=joined[text])


# -- for projects -------------------------------------------------------------------------------------------


def carrier(
    name: str,
    *,
    capture: Callable[[], Any],
    restore: Callable[[Any], AbstractContextManager[Any]],
    always: bool = False,
) -> None:
    """Define a carrier that CONTEXT can name; it replaces one of the same name.

    `capture` returns a JSON value, of at most 4096 bytes, for the header `name` of a message that is
    enqueued, or None for no header. `restore` is given that value, and returns a context manager that is
    entered around the handler, an async one too, and sees what that raises. With `always` it is entered for
    each delivery, those of schedules too, and `restore` is given None where nothing was captured. What either
    raises is logged, once for each carrier, and no message is lost by it.
    """
    register(name, _OfProject(name, capture, restore, always))


def register(name: str, carrier: Carrier) -> None:
    """Define a carrier that is given whole deliveries, and may be a Sender; CONTEXT can name it."""
    global _has_senders
    _carriers[name] = carrier
    _has_senders |= hasattr(carrier, "sending")


def get_correlation_id() -> str | None:
    """Return the correlation id of this context, such as that of the message being handled."""
    return _correlation_id.get()


@contextlib.contextmanager
def correlation_id(value: str | None) -> Iterator[None]:
    """Set the correlation id to `value` within a block, such as a request; None takes it away."""
    token = _correlation_id.set(value)
    try:
        yield
    finally:
        _correlation_id.reset(token)


class CorrelationFilter(logging.Filter):
    """A filter for log handlers: each record says which message its line is about, "-" where there is none.

    It gets `correlation_id`, `message_id`, `message_type`, `queue` and `attempt`, unless it has them already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is known of the message to `record`; let it pass."""
        known = facts()
        for name in FACTS:
            if vars(record).get(name, ABSENT) == ABSENT:
                setattr(record, name, known.get(name, ABSENT))
        return True


def get_trace() -> dict[str, str]:
    """Return the W3C trace context as headers: traceparent and tracestate, or none."""
    try:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return dict(_trace.get() or {})
    found: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(found)
    return found


@contextlib.contextmanager
def trace(headers: Mapping[str, str]) -> Iterator[None]:
    """Continue the trace of `headers`, traceparent and tracestate, within a block; others are ignored."""
    headers = {name: headers[name] for name in TRACE_HEADERS if isinstance(headers.get(name), str)}
    try:
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        before = _trace.set(headers)
        try:
            yield
        finally:
            _trace.reset(before)
        return
    token = context.attach(TraceContextTextMapPropagator().extract(headers))
    try:
        yield
    finally:
        context.detach(token)


# -- what log lines say of a message -------------------------------------------------------------------------

FACTS = ("message_id", "message_type", "queue", "attempt", "correlation_id")
# What a format such as %(message_id)s shows where there is none.
ABSENT = "-"

_delivery: ContextVar[Delivery | None] = ContextVar("letsgo_delivery", default=None)


def begin(delivery: Delivery | None) -> None:
    """Note which delivery this context belongs to; a worker runs each delivery in its own context."""
    _delivery.set(delivery)


def facts() -> dict[str, Any]:
    """Return what a line that is logged here says of the message being handled; {} without one."""
    delivery, id = _delivery.get(), get_correlation_id()
    known = {} if delivery is None else facts_of(delivery)
    return known if id is None else {**known, "correlation_id": id}


def facts_of(delivery: Delivery) -> dict[str, Any]:
    """Return what a log line says of a delivery, by the names in FACTS; never its payload."""
    return {
        "message_id": delivery.message_id,
        "message_type": delivery.type,
        "queue": delivery.queue,
        "attempt": delivery.attempt,
        "correlation_id": _correlation_id_of(delivery),
    }


def _correlation_id_of(delivery: Delivery) -> str:
    # The first message of a chain gives the others its id.
    return str(delivery.headers.get("correlation_id") or delivery.message_id)


# -- the carriers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _OfProject:
    name: str
    read: Callable[[], Any]
    enter: Callable[[Any], AbstractContextManager[Any]]
    always: bool = False

    def capture(self) -> dict[str, Any]:
        value = self.read()
        return {} if value is None else {self.name: value}

    def restore(self, delivery: Delivery) -> AbstractContextManager[Any] | None:
        # Not into a variable, which error trackers would send.
        if delivery.headers.get(self.name) is None and not self.always:
            return None
        return self.enter(delivery.headers.get(self.name))


class _Correlation:
    def capture(self) -> dict[str, Any]:
        value = get_correlation_id()
        return {} if value is None else {"correlation_id": value}

    def restore(self, delivery: Delivery) -> AbstractContextManager[None]:
        return correlation_id(_correlation_id_of(delivery))


class _Trace:
    def capture(self) -> dict[str, Any]:
        return {**get_trace()}

    def restore(self, delivery: Delivery) -> AbstractContextManager[None] | None:
        return trace(delivery.headers) if "traceparent" in delivery.headers else None


def _in_language(code: str) -> AbstractContextManager[Any]:
    # LookupError for a language that the project does not have: anyone may have written the text.
    return translation.override(translation.get_supported_language_variant(code))


_carriers: dict[str, Carrier] = {
    "language": _OfProject("language", translation.get_language, _in_language),
    "correlation_id": _Correlation(),
    "trace": _Trace(),
}
# Whether there ever was a Sender: without one, an enqueue does not even look.
_has_senders = False


# -- at enqueue, and around a handler -----------------------------------------------------------------------


def captured() -> dict[str, Any]:
    """Return the headers of all carriers in use; a failure of one does not fail the enqueue."""
    names = settings().context
    headers: dict[str, Any] = {}
    for name in names:
        with _tolerated(name):
            found = _carriers[name].capture()
            validation.encode(f"the context {name!r}", found, MOST_BYTES)
            headers |= found
    return headers


def senders() -> tuple[str, ...]:
    """Return the names of those carriers in use that surround an INSERT."""
    if not _has_senders:
        return ()
    return tuple(name for name in settings().context if hasattr(_carriers.get(name), "sending"))


@contextlib.contextmanager
def sending(names: tuple[str, ...], rows: Sequence[Any], *, is_batch: bool = False) -> Iterator[Sending]:
    """Surround an INSERT with these carriers; the rows to insert are those of what this yields."""
    seen = Sending(list(rows), is_batch)
    with _Entered(names, lambda name: _carriers[name].sending(seen)):  # type: ignore[attr-defined]
        yield seen


def restored(delivery: Delivery | None) -> AbstractContextManager[Any]:
    """Return a context manager that restores the context of a message around its handler."""
    names = settings().context
    if not names or delivery is None:
        return _UNCHANGED
    return _Entered(names, lambda name: _carriers[name].restore(delivery))


def unknown_carriers() -> list[str]:
    """Return a sentence for each name in CONTEXT that no carrier has."""
    return [_unknown(name) for name in settings().context if name not in _carriers]


def _unknown(name: str) -> str:
    return f"CONTEXT names {name!r}, and there is no such carrier.{suggestion(name, _carriers)}"


_UNCHANGED = contextlib.nullcontext()


class _Entered:
    """Carriers, entered in order. None of them can fail what they surround, or hide its error."""

    def __init__(
        self, names: tuple[str, ...], manager_of: Callable[[str], AbstractContextManager[Any] | None]
    ) -> None:
        self.names = names
        self.manager_of = manager_of
        self.entered: list[tuple[str, AbstractContextManager[Any]]] = []

    def __enter__(self) -> None:
        for name in self.names:
            with _tolerated(name):
                manager = self.manager_of(name)
                if manager is not None:
                    manager.__enter__()
                    self.entered.append((name, manager))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, manager in reversed(self.entered):
            with _tolerated(name):
                # Its answer is ignored: only the worker may treat an error as handled.
                manager.__exit__(kind, error, trace)


_logged: set[str] = set()


@contextlib.contextmanager
def _tolerated(name: str) -> Iterator[None]:
    """Log an error of a carrier, once for each carrier."""
    try:
        yield
    except Exception as error:
        if name in _logged:
            return
        _logged.add(name)
        if name not in _carriers:
            logger.error(_unknown(name))
        else:
            error = _beyond_us(error)
            logger.error("The carrier %r failed; what it carries is missing.", name, exc_info=error)


def _beyond_us(error: Exception) -> Exception:
    """Remove our own frames from an error: their variables are headers, and error trackers send those."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
        trace = trace.tb_next
    return error.with_traceback(trace)

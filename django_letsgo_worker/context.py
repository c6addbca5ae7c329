"""Context carriers: facts that go with a message from the code that enqueues it to the code that handles it.

The setting CONTEXT names those that are used; what they carry stands in the message's headers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
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
    """Define a carrier that is given whole deliveries; CONTEXT can name it."""
    _carriers[name] = carrier


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
    """A filter for log handlers: each record gets a `correlation_id`, "-" where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the correlation id to `record`; let it pass."""
        record.correlation_id = get_correlation_id() or "-"
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
        # The first message of a chain gives the others its id.
        return correlation_id(str(delivery.headers.get("correlation_id") or delivery.message_id))


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


def restored(delivery: Delivery | None) -> AbstractContextManager[Any]:
    """Return a context manager that restores the context of a message around its handler."""
    names = settings().context
    return _Restored(names, delivery) if names and delivery is not None else _UNCHANGED


def unknown_carriers() -> list[str]:
    """Return a sentence for each name in CONTEXT that no carrier has."""
    return [_unknown(name) for name in settings().context if name not in _carriers]


def _unknown(name: str) -> str:
    return f"CONTEXT names {name!r}, and there is no such carrier.{suggestion(name, _carriers)}"


_UNCHANGED = contextlib.nullcontext()


class _Restored:
    """All carriers in use, entered in order. None of them can fail the handler, or hide its error."""

    def __init__(self, names: tuple[str, ...], delivery: Delivery) -> None:
        self.names = names
        self.delivery = delivery
        self.entered: list[tuple[str, AbstractContextManager[Any]]] = []

    def __enter__(self) -> None:
        for name in self.names:
            with _tolerated(name):
                manager = _carriers[name].restore(self.delivery)
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

"""Messages as Sentry's queues know them: a span for each enqueue, a scope and a transaction for each attempt.

Whether transactions are sent is for the SDK to say, by its sample rate. Schedules are watched in monitors.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

import sentry_sdk

from ... import context
from ...context import Sending
from ...delivery import Delivery
from .. import attempts

# Those in which the trace of the enqueuing code travels, as the SDK reads them.
HEADERS = ("sentry-trace", "baggage")
ORIGIN = "auto.queue.letsgo"
# Sentry counts all but ok and cancelled as failures: a delivery that is put off, or given back, is none.
STATUSES = {"succeeded": "ok", "snoozed": "cancelled", "released": "cancelled", "lost": "aborted"}


def connect(name: str) -> None:
    """Define the carrier; a second call changes nothing."""
    context.register(name, Deliveries())
    attempts.connect()


class Deliveries:
    """The carrier that CONTEXT names "sentry"."""

    def capture(self) -> dict[str, Any]:
        # The headers name the span around the INSERT, which sending() adds.
        return {}

    def sending(self, sending: Sending) -> AbstractContextManager[None]:
        return _published(sending)

    def restore(self, delivery: Delivery) -> AbstractContextManager[None]:
        return _processed(delivery)


def is_listening() -> bool:
    """Whether what is captured goes anywhere: init() was called, and not without a DSN."""
    return getattr(sentry_sdk.get_client(), "transport", None) is not None


def trace_in(headers: dict[str, Any]) -> dict[str, str]:
    """Return those headers of a message that name a trace of Sentry's."""
    return {name: headers[name] for name in HEADERS if isinstance(headers.get(name), str)}


# -- producers -----------------------------------------------------------------------------------------------


@contextmanager
def _published(sending: Sending) -> Iterator[None]:
    if not is_listening():
        yield
        return
    if _begin_traces(sending):
        for place in range(len(sending.rows)):
            with sentry_sdk.isolation_scope() as scope:
                scope.set_new_propagation_context()
                sending.add(_trace_headers(), place)
        yield
        return
    with _span(op="queue.publish", name=_name(sending.rows), origin=ORIGIN) as span:
        sending.add(_trace_headers())
        _describe(span, _facts_of_sent(sending))
        yield
        if len(sending.ids) == 1:
            span.set_data("messaging.message.id", str(sending.ids[0]))


def _begin_traces(sending: Sending) -> bool:
    """Whether each of these messages begins a trace: a scheduler has none that they could be part of."""
    return sentry_sdk.get_current_span() is None and all(row.planned_at for row in sending.rows)


def _trace_headers() -> dict[str, str]:
    found = zip(HEADERS, (sentry_sdk.get_traceparent(), sentry_sdk.get_baggage()), strict=True)
    return {name: value for name, value in found if value}


def _name(rows: list[Any]) -> str:
    types = {row.type for row in rows}
    return types.pop() if len(types) == 1 else "enqueue_many"


def _facts_of_sent(sending: Sending) -> dict[str, Any]:
    queues = {row.queue for row in sending.rows}
    return {
        "messaging.system": "letsgo",
        "messaging.destination.name": queues.pop() if len(queues) == 1 else None,
        "messaging.message.body.size": sum(len(row.payload.encode()) for row in sending.rows),
        "messaging.batch.message_count": len(sending.rows) if sending.is_batch else None,
    }


# -- consumers -----------------------------------------------------------------------------------------------


@contextmanager
def _processed(delivery: Delivery) -> Iterator[None]:
    """A scope that knows its message and ends with it, and in it the transaction of this attempt."""
    error: BaseException | None = None
    with sentry_sdk.isolation_scope() as scope, attempts.watched(delivery) as attempt:
        # Those of the thread's other work are none of this message's.
        scope.clear_breadcrumbs()
        scope.set_tag("message_type", delivery.type)
        scope.set_tag("queue", delivery.queue)
        scope.set_tag("attempt", str(delivery.attempt))
        scope.set_tag("message_id", str(delivery.message_id))
        with _transaction(delivery) as transaction:
            _describe(transaction, _facts_of_attempt(delivery))
            try:
                yield
            except BaseException as raised:
                # Not past the transaction, which would call it an error whatever it means.
                error = raised
            outcome = attempt.outcome(error)
            transaction.set_data("letsgo.outcome", outcome)
            transaction.set_status(_status(outcome, error))
    if error is not None:
        raise error


def _transaction(delivery: Delivery) -> Any:
    """Continue the trace of who enqueued the message, or begin one."""
    continued = sentry_sdk.continue_trace(
        trace_in(delivery.headers), op="queue.process", name=delivery.type, source="task", origin=ORIGIN
    )
    if _streams_spans():
        return sentry_sdk.tracing.NoOpSpan()
    facts = {"type": delivery.type, "queue": delivery.queue, "attempt": delivery.attempt}
    return sentry_sdk.start_transaction(continued, custom_sampling_context={"letsgo": facts})


def _span(**facts: Any) -> Any:
    return sentry_sdk.tracing.NoOpSpan() if _streams_spans() else sentry_sdk.start_span(**facts)


def _streams_spans() -> bool:
    """Whether the SDK is in the mode, still an experiment, that has no transactions and warns of each."""
    options = sentry_sdk.get_client().options
    mode = options.get("trace_lifecycle") or (options.get("_experiments") or {}).get("trace_lifecycle")
    return bool(mode == "stream")


def _facts_of_attempt(delivery: Delivery) -> dict[str, Any]:
    planned_at = delivery.planned_at
    latency = None
    if delivery.attempt == 1:
        # By this machine's clock, which may be behind the database's.
        waited = datetime.now(UTC) - (planned_at or delivery.enqueued_at)
        latency = max(0.0, waited.total_seconds() * 1000)
    return {
        "messaging.system": "letsgo",
        "messaging.destination.name": delivery.queue,
        "messaging.message.id": str(delivery.message_id),
        "messaging.message.receive.latency": latency,
        "messaging.message.retry.count": delivery.attempt - 1,
        "letsgo.max_attempts": delivery.max_attempts,
        "letsgo.schedule": delivery.schedule,
        "letsgo.planned_at": None if planned_at is None else planned_at.isoformat(),
    }


def _status(outcome: str, error: BaseException | None) -> str:
    if outcome in STATUSES:
        return STATUSES[outcome]
    return "deadline_exceeded" if isinstance(error, TimeoutError) else "internal_error"


def _describe(span: Any, facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if value is not None:
            span.set_data(name, value)

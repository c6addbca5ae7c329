"""Spans, after OpenTelemetry's conventions for messaging: of each enqueue, attempt, and late surprise.

Only the API is used: what becomes of a span is the SDK's business. apps.py decides whether this is imported.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ... import __version__, context
from ...context import TRACE_HEADERS, Sending
from ...delivery import Delivery
from ...outcomes import dotted
from ...signals import delivery_finished, lease_lost
from .. import attempts

SYSTEM = "letsgo"
FAILED = ("retry", "dead", "expired", "lost")
PROPAGATOR = TraceContextTextMapPropagator()

# Spans that have ended, by message and receipt, until the database has said what became of their attempts.
# Not all of these are settled: a shutdown may come first.
MOST_ENDED = 10_000
_ended: OrderedDict[tuple[int, int], tuple[SpanContext, str]] = OrderedDict()


@cache
def tracer() -> Tracer:
    # Without an SDK it is a proxy, which finds one that is set up later.
    return trace.get_tracer("django_letsgo_worker", __version__)


def connect(name: str) -> None:
    """Define the carrier, and connect to the signals; a second call changes nothing."""
    context.register(name, Spans())
    attempts.connect()
    prefix = "django_letsgo_worker.contrib.otel"
    delivery_finished.connect(on_finished, Delivery, dispatch_uid=f"{prefix}.finished")
    lease_lost.connect(on_lost, Delivery, dispatch_uid=f"{prefix}.lost")


class Spans:
    """The carrier named "trace" in CONTEXT, with spans added; messages carry the same headers as without."""

    def capture(self) -> dict[str, Any]:
        # The headers name the span around the INSERT, which sending() adds.
        return {}

    def sending(self, sending: Sending) -> AbstractContextManager[None]:
        is_one = sending.is_batch or len(sending.rows) == 1
        return _sent_by_one_call(sending) if is_one else _sent_together(sending)

    def restore(self, delivery: Delivery) -> AbstractContextManager[None]:
        return _processed(delivery)


# -- producers -----------------------------------------------------------------------------------------------


@contextmanager
def _sent_by_one_call(sending: Sending) -> Iterator[None]:
    """One span, which surrounds the INSERT and is the parent of all attempts."""
    facts = _facts_of_sent(sending.rows, sending.is_batch)
    with tracer().start_as_current_span(
        facts.pop("name"), record_exception=False, set_status_on_exception=False, **facts
    ) as span:
        sending.add(_headers_of(span))
        try:
            yield
        except BaseException as error:
            _fail(span, error)
            raise
        if not sending.is_batch:
            span.set_attribute("messaging.message.id", str(sending.ids[0]))
        if not sending.created:
            span.set_attribute("letsgo.created", False)


@contextmanager
def _sent_together(sending: Sending) -> Iterator[None]:
    """A span for each of the messages that have nothing in common but their INSERT: those of schedules."""
    spans: list[Span] = []
    try:
        for place, row in enumerate(sending.rows):
            spans.append(tracer().start_span(**_facts_of_sent([row], False)))
            sending.add(_headers_of(spans[-1]), place)
        yield
        for span, id in zip(spans, sending.ids, strict=True):
            span.set_attribute("messaging.message.id", str(id))
    except BaseException as error:
        for span in spans:
            _fail(span, error)
        raise
    finally:
        for span in spans:
            span.end()


def _facts_of_sent(rows: Sequence[Any], is_batch: bool) -> dict[str, Any]:
    """Return the name, kind, attributes and links of a span, but for what is not the same for all rows."""
    queues, types = ({getattr(row, name) for row in rows} for name in ("queue", "type"))
    queue = queues.pop() if len(queues) == 1 else None
    headers = [json.loads(row.headers) for row in rows if _has_more(row)]
    planned_at = None if is_batch else rows[0].planned_at
    schedule = headers[0].get("schedule") if planned_at else None
    given = [found for found in map(_span_context_in, headers) if found.is_valid]
    return {
        "name": _name("enqueue", queue),
        "kind": SpanKind.PRODUCER,
        "attributes": _known(
            {
                **_operation("enqueue", "send", queue),
                "messaging.batch.message_count": len(rows) if is_batch else None,
                "letsgo.message.type": types.pop() if len(types) == 1 else None,
                **_schedule(schedule, planned_at),
            }
        ),
        # The context that a caller gave instead of this span's.
        "links": [Link(found) for found in given],
    }


def _has_more(row: Any) -> bool:
    """Whether the headers of a row say something that its span tells: not worth reading otherwise."""
    return row.planned_at is not None or TRACE_HEADERS[0] in row.headers


def _headers_of(span: Span) -> dict[str, str]:
    headers: dict[str, str] = {}
    PROPAGATOR.inject(headers, trace.set_span_in_context(span, Context()))
    return headers


# -- consumers -----------------------------------------------------------------------------------------------


@contextmanager
def _processed(delivery: Delivery) -> Iterator[None]:
    """The span of an attempt: a child of the span that enqueued the message, whichever attempt it is."""
    created = _span_context_in(delivery.headers)
    # A worker has no span here; a caller of drain() may.
    around = trace.get_current_span().get_span_context()
    parent = trace.set_span_in_context(trace.NonRecordingSpan(created), Context())
    with (
        attempts.watched(delivery) as attempt,
        tracer().start_as_current_span(
            _name("process", delivery.queue),
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes=_facts_of_attempt(delivery),
            links=[Link(found) for found in (created, around) if found.is_valid],
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
    ):
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            outcome = attempt.outcome(error)
            _note_ended(delivery, span, outcome)
            _conclude(span, outcome, error)


def _facts_of_attempt(delivery: Delivery) -> dict[str, Any]:
    return _known(
        {
            **_operation("process", "process", delivery.queue),
            "messaging.message.id": str(delivery.message_id),
            "messaging.message.conversation_id": _text(delivery.headers.get("correlation_id")),
            "letsgo.message.type": delivery.type,
            "letsgo.attempt": delivery.attempt,
            "letsgo.max_attempts": delivery.max_attempts,
            **_schedule(delivery.schedule, delivery.planned_at),
        }
    )


def _conclude(span: Span, outcome: str, error: BaseException | None) -> None:
    span.set_attribute("letsgo.outcome", outcome)
    if outcome not in FAILED:
        return
    if error is not None:
        _fail(span, error)
    else:
        span.set_status(Status(StatusCode.ERROR, outcome))


def _fail(span: Span, error: BaseException) -> None:
    name = dotted(error)
    span.set_attribute("error.type", name)
    span.set_status(Status(StatusCode.ERROR, name))
    # Its message and its traceback, which has no values of variables.
    span.record_exception(error)


# -- what the database made of it ----------------------------------------------------------------------------


def _note_ended(delivery: Delivery, span: Span, outcome: str) -> None:
    _ended[delivery.message_id, delivery.receipt] = span.get_span_context(), outcome
    if len(_ended) > MOST_ENDED:
        _ended.popitem(last=False)


def on_finished(delivery: Delivery, outcome: str, exception: BaseException | None, **kwargs: Any) -> None:
    """Add a span where the database made something else of an attempt than its own span says."""
    _settled(delivery, outcome, exception)


def on_lost(delivery: Delivery, **kwargs: Any) -> None:
    """The same, where the outcome of an attempt may not be recorded any more."""
    _settled(delivery, "lost", None)


def _settled(delivery: Delivery, outcome: str, error: BaseException | None) -> None:
    span_context, said = _ended.pop((delivery.message_id, delivery.receipt), (None, outcome))
    if span_context is None or said == outcome:
        return
    parent = trace.set_span_in_context(trace.NonRecordingSpan(span_context), Context())
    attributes = _facts_of_attempt(delivery) | _operation("settle", "settle", delivery.queue)
    span = tracer().start_span(
        _name("settle", delivery.queue), context=parent, kind=SpanKind.CLIENT, attributes=attributes
    )
    try:
        _conclude(span, outcome, error)
    finally:
        span.end()


# -- attributes ----------------------------------------------------------------------------------------------


def _name(operation: str, queue: str | None) -> str:
    return f"{operation} {queue}" if queue else operation


def _operation(name: str, type: str, queue: str | None) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": type,
        "messaging.destination.name": queue,
    }


def _schedule(name: Any, planned_at: datetime | None) -> dict[str, Any]:
    return {
        "letsgo.schedule": _text(name),
        "letsgo.planned_at": None if planned_at is None else planned_at.isoformat(),
    }


def _text(header: Any) -> str | None:
    # Anybody may have written it.
    return None if header is None else str(header)


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _span_context_in(headers: Any) -> SpanContext:
    """Return the span that headers name; an invalid one if they name none."""
    texts = {name: headers[name] for name in TRACE_HEADERS if isinstance(headers.get(name), str)}
    return trace.get_current_span(PROPAGATOR.extract(texts, Context())).get_span_context()

"""The handlers of the traced project, and the request that begins it all."""

import sentry_sdk
from opentelemetry import trace

from django_letsgo_worker import enqueue, handler


@handler("traced:parent", queue="parents", backoff=0, max_attempts=3)
def fail_and_enqueue(delivery):
    if delivery.attempt == 1:
        raise ValueError("not yet")
    enqueue("traced:child", queue="children")


@handler("traced:child", queue="children")
async def take_leave(delivery):
    pass


@handler("traced:report", atomic=True)
def report(delivery):
    pass


def request():
    """Enqueue as a view does, within the spans of both trackers' instrumentation."""
    with (
        trace.get_tracer("web").start_as_current_span("POST /orders", kind=trace.SpanKind.SERVER),
        sentry_sdk.start_transaction(op="http.server", name="POST /orders"),
    ):
        enqueue("traced:parent", {"card": "4242-canary"})

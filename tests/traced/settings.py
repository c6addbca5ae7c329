"""The settings of the tests, with both trackers set up as a project does it: once, in each process."""

import json
import os
from pathlib import Path

import sentry_sdk
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from sentry_sdk.transport import Transport

from tests.testapp.settings import *  # noqa: F403
from tests.testapp.settings import INSTALLED_APPS

INSTALLED_APPS = [
    *INSTALLED_APPS, "django_letsgo_worker.contrib.otel", "django_letsgo_worker.contrib.sentry",
]  # fmt: skip
LETSGO_WORKER = {
    "CONTEXT": ["trace", "sentry", "correlation_id"],
    "IMPORTS": ["tests.traced.messages"],
    "SCHEDULE": "",
}
LETSGO_SENTRY_CHECK_INS = ["*"]


def a_line(span: trace.Span) -> str:
    return json.dumps(json.loads(span.to_json())) + "\n"


provider = TracerProvider()
# A batch is sent now and then, and when the process ends: the last one must not be lost.
spans = Path(os.environ["TRACED_SPANS"]).open("a")  # noqa: SIM115
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=spans, formatter=a_line)))
trace.set_tracer_provider(provider)


class ToFile(Transport):
    """Writes what would be sent to Sentry."""

    def capture_envelope(self, envelope):
        with Path(os.environ["TRACED_SENTRY"]).open("a") as file:
            for item in envelope.items:
                file.write(json.dumps({"kind": item.type, **item.payload.json}) + "\n")


sentry_sdk.init(
    dsn="https://key@sentry.invalid/1",
    transport=ToFile,
    traces_sample_rate=1.0,
    auto_enabling_integrations=False,
)

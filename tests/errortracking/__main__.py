"""Fail in every way, and print what an error tracker was sent, by case."""

from __future__ import annotations

import json
import logging
import os
import sys

import django
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

SENT: list[str] = []


class Kept(Transport):
    """Keeps what would go to the tracker, byte for byte."""

    def capture_envelope(self, envelope: Envelope) -> None:
        SENT.append(envelope.serialize().decode())


def main() -> None:
    sentry_sdk.init(
        dsn="https://key@tracker.invalid/1",
        transport=Kept,
        include_local_variables=os.environ["ERRORTRACKING_LOCALS"] == "1",
        # More than anybody would have: what is not sent so is not sent at all.
        max_value_length=1_000_000,
        attach_stacktrace=True,
        send_default_pii=True,
        traces_sample_rate=1.0,
        integrations=[LoggingIntegration(event_level=logging.WARNING)],
    )
    django.setup()
    from . import failing

    sent = {}
    for name, case in failing.CASES.items():
        SENT.clear()
        case()
        sentry_sdk.flush()
        sent[name] = list(SENT)
    json.dump(sent, sys.stdout)


if __name__ == "__main__":
    main()

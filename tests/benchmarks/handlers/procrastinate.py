"""The handlers of procrastinate, and the app that its command is given."""

from __future__ import annotations

import logging
import os
from typing import Any

from procrastinate import App, PsycopgConnector

from tests.benchmarks import tally

app = App(connector=PsycopgConnector(conninfo=os.environ["LETSGO_BENCH_DSN"]))
# Its command logs two lines for each message otherwise.
logging.getLogger("procrastinate.worker").setLevel(logging.WARNING)
logging.getLogger("procrastinate.blueprints").setLevel(logging.WARNING)


@app.task(name="noop")
async def noop(payload: dict[str, Any]) -> None:
    tally.handled()


@app.task(name="ping")
async def ping(payload: dict[str, Any]) -> None:
    tally.picked_up(payload["sent"])

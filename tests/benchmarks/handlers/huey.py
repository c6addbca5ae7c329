"""The handlers of huey, and the instance that its consumer is given."""

from __future__ import annotations

import os
from typing import Any

from huey import SqliteHuey

from tests.benchmarks import tally

huey = SqliteHuey(filename=os.environ["LETSGO_BENCH_FILE"], results=False)


@huey.task()
def noop(payload: dict[str, Any]) -> None:
    tally.handled()


@huey.task()
def ping(payload: dict[str, Any]) -> None:
    tally.picked_up(payload["sent"])

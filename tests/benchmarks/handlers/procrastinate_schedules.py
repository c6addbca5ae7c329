"""The app of procrastinate with as many periodic tasks as its environment says, due once a year."""

from __future__ import annotations

import logging
import os
from datetime import datetime
from typing import Any

from .procrastinate import app

logging.getLogger("procrastinate.periodic").setLevel(logging.WARNING)


@app.task(name="scheduled")
async def scheduled(timestamp: int, payload: dict[str, Any]) -> None:
    """Nobody runs it: it is only made."""


due = datetime.fromisoformat(os.environ["LETSGO_BENCH_DUE"])
for n in range(int(os.environ["LETSGO_BENCH_SCHEDULES"])):
    app.periodic(
        # Its crons may have a sixth field, of seconds.
        cron=f"{due:%-M %-H %-d %-m} * {due:%-S}",
        periodic_id=str(n),
        task_kwargs={"payload": {"n": n}},
    )(scheduled)

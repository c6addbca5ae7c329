"""The handlers of oban."""

from __future__ import annotations

from oban import Job, worker

from tests.benchmarks import tally


@worker()
class Noop:
    async def process(self, job: Job) -> None:
        tally.handled()


@worker()
class Ping:
    async def process(self, job: Job) -> None:
        tally.picked_up(job.args["sent"])

"""The handlers of pgqueuer, and its worker.

    python -m tests.benchmarks.handlers.pgqueuer

That is what `pgq run` does beneath its command line, whose --log-level newer releases of typer break.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pgqueuer
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job

from tests.benchmarks import tally


@asynccontextmanager
async def serve() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect(os.environ["PGQUEUER_DSN"])
    queuer = PgQueuer.from_asyncpg_connection(connection)

    @queuer.entrypoint("noop")
    async def noop(job: Job) -> None:
        tally.handled()

    @queuer.entrypoint("ping")
    async def ping(job: Job) -> None:
        tally.picked_up(json.loads(job.payload or b"")["sent"])

    try:
        yield queuer
    finally:
        await connection.close()


if __name__ == "__main__":
    uvloop.run(pgqueuer.run(serve, batch_size=1000))

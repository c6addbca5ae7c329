"""A worker and a scheduler inside another process, such as a site: on threads, or in an ASGI lifespan.

They are those of the commands. asgi.py imports this before Django is set up, so it imports no models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypedDict, Unpack

from .protocol import Application, with_lifespan

__all__ = ["lifespan", "running"]


class What(TypedDict, total=False):
    """What is to run inside this process."""

    worker: bool
    scheduler: bool
    concurrency: int
    queues: Iterable[str]
    exclude_queues: Iterable[str]
    name: str
    using: str


@contextmanager
def running(**options: Unpack[What]) -> Iterator[None]:
    """Handle messages and fire schedules on threads of this process while the block runs.

    `worker=False` leaves out the one, `scheduler=False` the other. `concurrency` is how many messages to
    handle at once, `queues` which queues to serve, `exclude_queues` which to leave to others, `name` what the
    process is called (host:pid by default), and `using` the alias of the queue's database; what is not given
    is as LETSGO_WORKER says.

    At its end the worker drains: what has begun gets DRAIN_SECONDS, and is given back then. Signals are left
    alone. While the database is away the threads wait for it, and the block goes on.

    Raises NotReady where this cannot run, such as in a transaction, on a private database in memory or
    without our tables; AlreadyRunning for a second one in this process; InvalidMessage for a bad option,
    ImproperlyConfigured for an alias that DATABASES lacks.
    """
    from .threads import Threads

    threads = Threads(**options)
    threads.start()
    try:
        yield
    finally:
        threads.stop()


def lifespan(application: Application, **options: Unpack[What]) -> Application:
    """Return an ASGI application that runs a worker and a scheduler from its server's start to its shutdown.

    All other scopes go to `application`. The options are those of running(): `worker`, `scheduler`,
    `concurrency`, `queues`, `exclude_queues`, `name` and `using`. What keeps them from starting fails the
    server's start, in one sentence. The server has to speak the lifespan protocol, as uvicorn and hypercorn
    do; under daphne nothing runs.
    """
    return with_lifespan(application, partial(running, **options))

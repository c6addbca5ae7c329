"""The event loop of a worker process: it runs all async handlers, and reports one that blocks it.

pool.py decides when a message runs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

from ..outcomes import Outcome
from . import executor
from .inflight import InFlight
from .isolation import let_go

logger = logging.getLogger("django_letsgo_worker.worker")

# A loop that has not come round for this long is blocked, in seconds.
BLOCKED_SECONDS = 1.0

# Called on the loop with the outcome of a delivery, or with an error if there is none.
OnEnd = Callable[[InFlight, Outcome | BaseException], None]


class EventLoop:
    """An event loop on its own thread, started when the first async handler comes."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        # asyncio holds its tasks weakly: one that nobody else holds may be collected before it has ended.
        self._tasks: set[asyncio.Task[Outcome]] = set()

    def begin(self, entry: InFlight, on_end: OnEnd) -> None:
        """Run the async handler of a delivery, and return at once; `on_end` is called whatever it does."""
        loop = self._started()
        loop.call_soon_threadsafe(self._begin, loop, entry, on_end)

    def stop(self, timeout: float) -> None:
        """End once all that runs here has ended, after `timeout` seconds at the latest."""
        if self._loop is None:
            return
        ended = asyncio.run_coroutine_threadsafe(self._all_ended(), self._loop)
        concurrent.futures.wait([ended], timeout)
        self._stopping.set()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _all_ended(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, loop: asyncio.AbstractEventLoop, entry: InFlight, on_end: OnEnd) -> None:
        name = f"Message {entry.claimed.id} ({entry.claimed.type})"
        task = loop.create_task(_deliver(entry), name=name)
        self._tasks.add(task)
        entry.cancel = partial(loop.call_soon_threadsafe, task.cancel)
        if entry.lost:
            # Its lease went before it had begun.
            task.cancel()
        task.add_done_callback(lambda task: self._end(task, entry, on_end))

    def _end(self, task: asyncio.Task[Outcome], entry: InFlight, on_end: OnEnd) -> None:
        self._tasks.discard(task)
        # A handler that kept the task can cancel it once more while its outcome is worked out.
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        on_end(entry, error or task.result())

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="letsgo-loop", daemon=True
                )
                thread.start()
                watch = threading.Thread(
                    target=self._watch, args=(self._loop, thread), name="letsgo-loop-watch", daemon=True
                )
                watch.start()
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopping.is_set():
            try:
                loop.run_forever()
            except BaseException as error:
                # A task that a handler started raised SystemExit: asyncio passes that on, past the loop.
                logger.error("A task of an async handler raised %s.", type(error).__name__)

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        """Log, once per stall, which task blocks the event loop."""
        while not self._stopping.wait(BLOCKED_SECONDS):
            answered = threading.Event()
            loop.call_soon_threadsafe(answered.set)
            if answered.wait(BLOCKED_SECONDS) or self._stopping.is_set():
                continue
            task, frame = asyncio.current_task(loop), sys._current_frames().get(thread.ident or 0)
            last = traceback.extract_stack(frame)[-1] if frame is not None else None
            logger.warning(
                "%s has blocked the event loop for %g s, and all async handlers with it%s: "
                "use await, or sync_to_async().",
                task.get_name() if task is not None else "Something",
                BLOCKED_SECONDS,
                f", in {last.filename} line {last.lineno}" if last is not None else "",
                extra={"event": "loop.blocked"},
            )
            answered.wait()


async def _deliver(entry: InFlight) -> Outcome:
    """Run an async handler to its end, and return the outcome."""
    # Each delivery has its own thread-sensitive context: otherwise the ORM calls of all would share one
    # thread, and with it one connection and one transaction.
    async with ThreadSensitiveContext():
        result, error = await executor.attempt_async(entry, _note_failure)
        return await sync_to_async(_conclude, thread_sensitive=True)(entry, error, result)


def _note_failure(entry: InFlight, error: BaseException) -> None:
    _let_go_of_connections()
    executor.note_failure(entry, error)


def _let_go_of_connections() -> None:
    for connection in connections.all(initialized_only=True):
        let_go(connection)


def _conclude(entry: InFlight, error: BaseException | None, result: Any) -> Outcome:
    """Conclude a delivery on the thread of its ORM calls: it may block, and use the database."""
    _let_go_of_connections()
    try:
        return executor.outcome_of(entry, error, result)
    finally:
        connections.close_all()

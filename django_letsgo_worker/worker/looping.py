"""The event loop of a worker process: it runs all async handlers, and reports one that blocks it.

Which message runs when is the seats'.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

from ..context import restored
from ..delivery import Delivery

logger = logging.getLogger("django_letsgo_worker.worker")

# A loop that has not come round for so long is blocked, in seconds.
BLOCKED_SECONDS = 1.0


class EventLoop:
    """One event loop on a thread of its own, started when the first async handler comes."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def run(self, function: Any, delivery: Delivery, timeout: float | None) -> Any:
        """Run an async handler to its end; it is cancelled after `timeout` seconds (TimeoutError)."""
        result, error = asyncio.run_coroutine_threadsafe(
            _within(function, delivery, timeout), self._started()
        ).result()
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        self._stopping.set()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

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
        """Say, once each time, who keeps the loop from its other deliveries."""
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


async def _within(
    function: Any, delivery: Delivery, timeout: float | None
) -> tuple[Any, BaseException | None]:
    task = asyncio.current_task()
    assert task is not None
    task.set_name(f"Message {delivery.message_id} ({delivery.type})")
    # A thread-sensitive context of its own: otherwise all deliveries' ORM calls would share one
    # thread, and with it one connection and one transaction.
    async with ThreadSensitiveContext():
        try:
            with restored(delivery):
                async with asyncio.timeout(timeout):
                    return await function(delivery), None
        except BaseException as error:  # a SystemExit that leaves a task ends its event loop
            return None, error
        finally:
            await sync_to_async(connections.close_all, thread_sensitive=True)()

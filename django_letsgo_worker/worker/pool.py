"""The pool of handler threads: where deliveries run; the event loop that runs async ones is in eventloop.py.

A seat takes and gives back an InFlight entry; the loop decides when to claim.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import count
from math import ceil
from uuid import UUID

from django.db import connections

from ..conf import on_database
from ..messages import settlements
from ..outcomes import Outcome
from . import executor
from .eventloop import EventLoop
from .inflight import InFlight, InFlightTable
from .isolation import ConnectionKeeper
from .options import Options
from .wakeup import Wakeup

logger = logging.getLogger("django_letsgo_worker.worker")

# One more thread is woken per this many seconds of waiting work; a thread whose handler runs longer counts
# as taken.
WORTH_A_THREAD = 0.002


class HandlerPool:
    """Runs as many deliveries at a time as the process has seats, and wakes the loop when one has finished.

    Each seat is held by one thread or by one running async delivery. A thread that starts an async delivery
    gives it its seat, then takes a free one or ends: so there are never more connections than seats.
    """

    def __init__(
        self,
        options: Options,
        process: UUID,
        inflight: InFlightTable,
        wakeup: Wakeup,
        on_timed: Callable[[], None],
    ) -> None:
        self.options = options
        self.process = process
        self.inflight = inflight
        self.wakeup = wakeup
        self.loop = EventLoop()
        # Called when a handler with a time-out begins.
        self.on_timed = on_timed
        lock = threading.RLock()
        self._called, self._freed = threading.Condition(lock), threading.Condition(lock)
        self._threads: set[threading.Thread] = set()
        self._numbers = count()
        self._resting = 0
        # The number of seats that neither a thread nor a delivery on the event loop has.
        self._free = inflight.seats
        # Threads that wait for a seat: one, at the most.
        self._seatless = 0
        self._stopping = False

    def start(self) -> None:
        """Start the first thread; the others start when there is work for them."""
        with self._called:
            self._start_thread()

    def wake(self) -> bool:
        """Wake or start as many threads as waiting messages need; return whether some wait beside free seats.

        Work that is done in microseconds, as is the beginning of an async delivery, is left to the few that
        are awake: a thread that wakes up only to find the next one working holds up both.
        """
        waiting = len(self.inflight.ready)
        if not waiting or not (self._resting or self._free):
            return False
        enough = ceil(waiting * self.inflight.seconds_each / WORTH_A_THREAD)
        with self._called:
            stuck = self.inflight.count_stuck(WORTH_A_THREAD)
            awake = len(self._threads) - self._resting - self._seatless - stuck
            wanted = max(1, self.inflight.count_waiting_sync(enough)) - awake
            self._called.notify(max(0, wanted))
            for _ in range(min(wanted - self._resting, self._free)):
                self._start_thread()
        return True

    def stop(self, timeout: float) -> None:
        """Let the threads end once they are done; call it when nothing is in flight."""
        with self._called:
            self._stopping = True
            self._called.notify_all()
            self._freed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout)
        self.loop.stop(timeout)

    # -- threads ------------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        """Give a free seat to a new thread. The caller holds the lock."""
        if self._stopping:
            return
        # Daemons: at the end of a drain that was cut short, nothing waits for a handler that never ends.
        thread = threading.Thread(target=self._sit, name=f"letsgo-seat-{next(self._numbers)}", daemon=True)
        thread.start()
        self._threads.add(thread)
        self._free -= 1

    def _next(self) -> InFlight | None:
        """Return the next message once there is one; None at the end."""
        while True:
            try:
                return self.inflight.ready.popleft()
            except IndexError:
                pass
            with self._called:
                if self._stopping:
                    return None
                if not self.inflight.ready:
                    self._resting += 1
                    self._called.wait()
                    self._resting -= 1

    def _sit(self) -> None:
        try:
            # What a handler does without naming a database is done on that of its message.
            with on_database(self.options.using):
                self._serve_all(ConnectionKeeper())
        finally:
            connections.close_all()

    def _serve_all(self, keeper: ConnectionKeeper) -> None:
        while (entry := self._next()) is not None:
            if self.inflight.begin(entry) and not self._serve(entry, keeper) and not self._find_seat():
                return

    def _find_seat(self) -> bool:
        """Take another seat for this thread, whose own went to the event loop; False when it is to end."""
        with self._called:
            if not self._free and not self._seatless:
                # One waits, or each seat that the event loop gives back would start a thread.
                self._seatless += 1
                self._freed.wait_for(lambda: self._free or self._stopping)
                self._seatless -= 1
            if self._free:
                self._free -= 1
                return True
            self._threads.discard(threading.current_thread())
        # Some may have counted on this thread while others rest.
        self.wake()
        return False

    # -- deliveries ---------------------------------------------------------------------------------

    def _serve(self, entry: InFlight, keeper: ConnectionKeeper) -> bool:
        """Run one delivery, from its first line to its outcome; nothing that it does ends the thread.

        Return whether the thread still has its seat: an async delivery takes it to the event loop.
        """
        try:
            keeper.before()
            if entry.handler.timeout is not None:
                self.on_timed()
            entry.delivery = settlements.delivery_of(entry.claimed, entry.control)
            if executor.announce(entry):
                # A receiver of the signal may leave a connection in any state, as a handler may.
                keeper.after()
            if entry.handler.is_async:
                self._send_to_loop(entry)
                return False
            outcome, settled = executor.run(
                entry,
                executor.call,
                using=self.options.using,
                process=self.process,
                process_name=self.options.name,
            )
        except BaseException as error:
            logger.exception("Message %s could not be handed to its handler.", entry.claimed.id)
            outcome, settled = executor.unhanded(entry, error), False
        try:
            keeper.after()
        except Exception:
            logger.exception("The connections of a seat could not be tidied up.")
            connections.close_all()
        self.inflight.finish(entry, outcome, settled=settled)
        self.wakeup.wake()
        return True

    def _send_to_loop(self, entry: InFlight) -> None:
        """Let the handler run on the event loop, with the seat of this thread."""
        # Its ORM calls run on another thread, with that thread's connection; this one would be one too many.
        connections.close_all()
        entry.on_loop = True
        self.loop.begin(entry, self._ended_on_loop)

    def _ended_on_loop(self, entry: InFlight, end: Outcome | BaseException) -> None:
        """Take back the seat of an async delivery; it runs on the event loop, and must not block it."""
        outcome = executor.unhanded(entry, end) if isinstance(end, BaseException) else end
        self.inflight.finish(entry, outcome)
        with self._called:
            self._free += 1
        self.wakeup.wake()
        self.wake()

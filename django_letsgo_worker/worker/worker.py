"""Worker: the life of one process, from its row to its exit, as a list of named steps.

The threads are in exchange, heartbeat, seats and wakeup; what they share is in hands.
"""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from os import getpid

from django.db import connections

from .. import __version__, processes, registry
from ..engines import engine_for, engine_on
from ..models import Process
from .exchange import Exchange
from .hands import Hands
from .heartbeat import Heartbeat
from .options import Options
from .seats import Seats
from .wakeup import Listener, Wakeup

logger = logging.getLogger("django_letsgo_worker.worker")


class Worker:
    """One worker process. run() returns when it is stopped, or empty where that was asked for."""

    def __init__(
        self,
        options: Options,
        stopping: threading.Event | None = None,
        hurrying: threading.Event | None = None,
    ) -> None:
        self.options = options
        self.process = Process(
            id=uuid.uuid4(),
            kind=Process.Kind.WORKER,
            name=options.name[:200],
            host=socket.gethostname()[:255],
            pid=getpid(),
            queues=None if options.queues is None else list(options.queues),
            types=registry.types(),
            seats=options.seats,
            version=__version__,
            state=Process.State.RUNNING,
        )
        # The first ends the claiming, the second what still runs then; a signal handler must not set
        # them itself: it may have interrupted a wait() that holds the event's lock.
        self.stopping = stopping or threading.Event()
        self.hurrying = hurrying or threading.Event()
        self.hands = Hands(options.seats)
        self.wakeup = Wakeup()
        self.seats = Seats(
            self.hands, self.wakeup, using=options.using, process=self.process.pk, name=options.name
        )
        self.heartbeat = Heartbeat(options, self.process, self.hands, self.wakeup, self.stopping.set)
        self.seats.on_timed = self.heartbeat.kick
        self.exchange = Exchange(
            options,
            self.process.pk,
            self.hands,
            self.seats,
            self.wakeup,
            self.heartbeat.renewing,
            self.stopping.set,
        )
        self.listener = Listener(options.using, self.wakeup, self.process.pk, self.heartbeat.look_for_revoked)

    def stop(self) -> None:
        """Drain and end; called once more, give back at once what still runs. From any thread."""
        (self.hurrying if self.stopping.is_set() else self.stopping).set()

    def run(self) -> bool:
        """Work until stopped; return whether all that had begun came to its end, and that was written."""
        self._start()
        try:
            self._work()
        except KeyboardInterrupt:
            self.stopping.set()
        clean = self._drain()
        self._end()
        return clean and not self.count_unwritten() and self.exchange.error is None

    # -- the steps ----------------------------------------------------------------------------------

    def _start(self) -> None:
        processes.register(self.process, self.options.using)
        # This thread needs the database no more until the end.
        connections[self.options.using].close()
        self.seats.start()
        self.heartbeat.start()
        if engine_for(self.options.using).can_listen:
            self.listener.start()
        self.exchange.start()

    def _work(self) -> None:
        # The exchange sets this too when it ends by itself. In steps: a signal that the system hands to
        # another thread does not end a wait of this one, and its handler would never run.
        while not self.stopping.wait(0.5):
            continue

    def _drain(self) -> bool:
        """Claim no more; give what has begun its time, then give it back. Return whether it all ended."""
        self.exchange.stop_claiming()
        if self.exchange.done.is_set():
            return True
        self.heartbeat.say(Process.State.DRAINING)
        clean = self.hands.wait_until_idle(self.options.drain_seconds, self.hurrying)
        if not clean:
            self._interrupt()
        self.exchange.end()
        self.exchange.done.wait()
        return clean

    def _interrupt(self) -> None:
        interrupted = self.hands.interrupt_running()
        for hand in interrupted:
            hand.signals.should_stop = True
            if hand.connection is not None:
                # Its transaction locks the message: nobody can give it back before that has ended.
                engine_on(hand.connection).cut_line()
        logger.warning("%d messages are given back while their handlers run.", len(interrupted))

    def count_unwritten(self) -> int:
        """Return how many outcomes could not be written, at the end."""
        return len(self.hands.unwritten())

    def _say_what_is_unwritten(self) -> None:
        unwritten = self.hands.unwritten()
        if unwritten:
            some = ", ".join(f"{hand.claimed.id} ({hand.claimed.type})" for hand in unwritten[:10])
            logger.error(
                "%d messages were handled, and what became of them could not be written: %s%s. They are "
                "handled again once their leases have lapsed.",
                len(unwritten),
                some,
                ", ..." if len(unwritten) > 10 else "",
            )

    def _end(self) -> None:
        self.listener.stop()
        self.heartbeat.end()
        self.seats.stop(timeout=1.0)
        for thread in (self.heartbeat, self.exchange):
            thread.join(timeout=5.0)
        self._say_what_is_unwritten()

"""Worker: the life of one process, from its row to its exit, as a list of named steps.

The threads are in loop, heartbeat, pool and wakeup; what they share is in inflight.
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import uuid
from collections import Counter
from os import getpid

from django.db import Error, IntegrityError, connections

from .. import __version__, messages, processes, registry, validation
from ..engines import engine_for, engine_on
from ..models import Message, Process
from .heartbeat import Heartbeat
from .inflight import InFlightTable
from .isolation import force_close
from .loop import WorkerLoop
from .options import Options
from .pool import HandlerPool
from .wakeup import Listener, Wakeup

logger = logging.getLogger("django_letsgo_worker.worker")

# How many due messages are counted at the end; beyond that a "+" is said.
MOST_COUNTED = 1_000
# Between tries to say that it has started, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


class Worker:
    """One worker process. run() returns when it is stopped, or when its queues are empty, if so asked."""

    def __init__(
        self,
        options: Options,
        stopping: threading.Event | None = None,
        hurrying: threading.Event | None = None,
    ) -> None:
        self.options = options
        self.process = _process_row(options)
        # The first ends the claiming, the second what still runs then; a signal handler must not set
        # them itself: it may have interrupted a wait() that holds the event's lock.
        self.stopping = stopping or threading.Event()
        self.hurrying = hurrying or threading.Event()
        self.inflight = InFlightTable(options.seats)
        self.wakeup = Wakeup()
        self.heartbeat = Heartbeat(options, self.process, self.inflight, self.wakeup, self.stopping.set)
        self.pool = HandlerPool(
            options, self.process.pk, self.inflight, self.wakeup, on_timed=self.heartbeat.wake
        )
        self.loop = WorkerLoop(
            options,
            self.process.pk,
            self.inflight,
            self.pool,
            self.wakeup,
            self.heartbeat.renewing,
            self.stopping.set,
        )
        self.listener = Listener(options.using, self.wakeup, self.process.pk, self.heartbeat.look_for_revoked)

    def stop(self) -> None:
        """Drain and end; called once more, give back at once what still runs. From any thread."""
        (self.hurrying if self.stopping.is_set() else self.stopping).set()

    def run(self) -> bool:
        """Work until stopped; return whether everything that had begun came to an end that was written."""
        if not self._register():
            return True
        self._start()
        try:
            self._work()
        except KeyboardInterrupt:
            self.stopping.set()
        clean = self._drain()
        self._end()
        self._say_what_was_done()
        return clean and not self.count_unwritten() and self.loop.error is None

    # -- the steps ----------------------------------------------------------------------------------

    def _register(self) -> bool:
        """Write the row of this process; an outage is waited out. Return False when it is stopped first."""
        alias, pause = self.options.using, FIRST_PAUSE
        while not self.stopping.is_set():
            try:
                processes.register(self.process, alias)
            except IntegrityError:
                # An earlier try whose answer was lost was carried out after all.
                pass
            except Error as error:
                if not engine_for(alias).is_outage(error):
                    raise
                if pause == FIRST_PAUSE:
                    logger.warning("The database cannot be used, trying again: %s", str(error).strip())
                force_close(connections[alias])
                self.stopping.wait(pause * random.uniform(0.5, 1.0))
                pause = min(LONGEST_PAUSE, 2 * pause)
                continue
            # This thread needs the database again at the end.
            connections[alias].close()
            return True
        return False

    def _start(self) -> None:
        self.pool.start()
        self.heartbeat.start()
        if engine_for(self.options.using).can_listen:
            self.listener.start()
        self.loop.start()

    def _work(self) -> None:
        # The loop sets this too when it ends by itself. In steps: a signal that the system hands to
        # another thread does not end a wait of this one, and its handler would never run.
        while not self.stopping.wait(0.5):
            continue

    def _drain(self) -> bool:
        """Stop claiming; give what has begun its time, then give it back. Return whether it all ended."""
        self.loop.stop_claiming()
        if self.loop.done.is_set():
            return True
        self.heartbeat.say(Process.State.DRAINING)
        clean = self.inflight.wait_until_idle(self.options.drain_seconds, self.hurrying)
        if not clean:
            self._interrupt()
        self.loop.end()
        self.loop.done.wait()
        return clean

    def _interrupt(self) -> None:
        interrupted = self.inflight.interrupt_running()
        for entry in interrupted:
            entry.control.should_stop = True
            if entry.connection is not None:
                # Its transaction locks the message: nobody can give it back before that has ended.
                engine_on(entry.connection).abort_connection()
        many = validation.counted(len(interrupted), "message is", "messages are")
        logger.warning("%s given back while the code of the handler still runs.", many)

    def count_unwritten(self) -> int:
        """Return how many outcomes could not be written, at the end."""
        return len(self.inflight.unwritten())

    def _say_what_is_unwritten(self) -> None:
        unwritten = self.inflight.unwritten()
        if unwritten:
            some = ", ".join(f"{entry.claimed.id} ({entry.claimed.type})" for entry in unwritten[:10])
            logger.error(
                "%s handled, and what became of that could not be written: %s%s. It is done again once the "
                "leases have lapsed.",
                validation.counted(len(unwritten), "message was", "messages were"),
                some,
                ", ..." if len(unwritten) > 10 else "",
            )

    def _end(self) -> None:
        self.listener.stop()
        self.heartbeat.end()
        self.pool.stop(timeout=1.0)
        for thread in (self.heartbeat, self.loop):
            thread.join(timeout=5.0)
        self._say_what_is_unwritten()

    def _say_what_was_done(self) -> None:
        ended = self.loop.events.ended
        done = ", ".join(f"{ended[name]} {name}" for name in sorted(ended)) or "nothing was handled"
        try:
            left = self._say_what_is_left()
        except Error as error:
            left = f"what is due could not be read ({str(error).strip()})"
        finally:
            connections[self.options.using].close()
        logger.info("Stopped: %s; %s.", done, left, extra={"event": "worker.stopped"})

    def _say_what_is_left(self) -> str:
        due = self._due_types()
        if not due:
            return "nothing is due"
        known, count = set(registry.types()), due.total()
        sentence = f"{MOST_COUNTED}+ are due" if count > MOST_COUNTED else f"{count} {_is(count)} due"
        unknown = [
            f"{number} of unknown type {type}{f' (like {like}?)' if (like := registry.like(type)) else ''}"
            for type, number in due.most_common()
            if type not in known
        ]
        return ", ".join([sentence, *unknown[:3], *(["..."] if unknown[3:] else [])])

    def _due_types(self) -> Counter[str]:
        """Count the due messages of the queues that this worker served by type, up to a bound."""
        engine = engine_for(self.options.using)
        due: Counter[str] = Counter()
        for lane in engine.lanes():
            if not self.options.serves(lane.queue) or lane.is_paused or lane.due_in:
                continue
            rows = Message.objects.using(self.options.using).filter(queue=lane.queue, priority=lane.priority)
            rows = rows.filter(visible_at__lte=lane.read_at).order_by("visible_at")
            due.update(rows.values_list("type", flat=True)[: MOST_COUNTED + 1 - due.total()])
        for type in messages.paused_types(using=self.options.using):
            del due[type]
        return due


def _process_row(options: Options) -> Process:
    return Process(
        id=uuid.uuid4(),
        kind=Process.Kind.WORKER,
        name=options.name[:200],
        host=socket.gethostname()[:255],
        pid=getpid(),
        queues=None if options.queues is None else list(options.queues),
        excluded_queues=list(options.excluded_queues),
        types=registry.types(),
        seats=options.seats,
        version=__version__,
        state=Process.State.RUNNING,
    )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"

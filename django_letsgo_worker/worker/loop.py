"""The worker loop: the one thread of a worker that talks to the queue, round after round.

Nothing waits for a batch to fill: while a round is in flight outcomes gather, and the next round takes
them all, so groups grow with load and vanish without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from django.db import Error, connections

from .. import registry
from ..engines import Claimed, Engine, Fault, Lane, adopt_own_connection, in_short
from ..maintenance import Housekeeper
from .batch import Found, Round
from .events import Events
from .inflight import FINISHED, RUNNING, WAITING, InFlightTable
from .isolation import force_close
from .lanes import Lanes, Watermarks
from .options import Options
from .pool import HandlerPool
from .prefetch import LoopStats, Prefetch
from .taking import Taker
from .wakeup import Wakeup

logger = logging.getLogger("django_letsgo_worker.worker")

# A worker that went idle looks once more after this many seconds: a transaction that began while it was
# busy may have committed between its last look and its saying so.
SECOND_LOOK = 0.05
# How soon to try again what another session has locked, in seconds.
LOCKED_PAUSE = 0.05
# How soon to see whether messages wait behind one that takes longer than the last ones did.
ROUSE_SECONDS = 0.005
# With so many outcomes that the database refuses, nothing is claimed: there is no use in more of them.
MOST_UNWRITTEN = 100
# At the end, how long to try to give back what somebody has locked, in seconds.
GIVE_BACK_SECONDS = 3.0


class WorkerLoop(threading.Thread):
    """Claims and settles until it is told to end. `done` is set when the thread is."""

    def __init__(
        self,
        options: Options,
        process: UUID,
        inflight: InFlightTable,
        pool: HandlerPool,
        wakeup: Wakeup,
        renewing: threading.Event,
        on_done: Callable[[], None],
    ) -> None:
        super().__init__(name="letsgo-loop", daemon=True)
        self.options = options
        self.process = process
        self.inflight = inflight
        self.pool = pool
        self.wakeup = wakeup
        # Set while the heartbeat can renew leases: without it nothing is claimed.
        self.renewing = renewing
        self.on_done = on_done
        self.prefetch = Prefetch(options, inflight)
        self.taker = Taker(options, process, inflight)
        self.events = Events()
        self.stats = LoopStats()
        self.claiming = threading.Event()
        self.claiming.set()
        self.done = threading.Event()
        self.error: BaseException | None = None
        self._end_by: float | None = None
        self._outage_since: float | None = None
        self._was_refused = False
        self._second_look = False
        self._nothing_left = False
        # Whether the last turn found nothing.
        self._in_vain = False

    # -- told from outside --------------------------------------------------------------------------

    def stop_claiming(self) -> None:
        """Claim no more, and give back what has not begun."""
        self.claiming.clear()
        self.wakeup.wake()

    def end(self, within: float = GIVE_BACK_SECONDS) -> None:
        """Settle what is left and end, after `within` seconds at the latest."""
        self._end_by = time.monotonic() + within
        self.inflight.try_again()
        self.stop_claiming()

    # -- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self.engine: Engine = adopt_own_connection(self.options.using)
            self.lanes = Lanes(self.engine, self.options.queues, Watermarks())
            self.round = Round(
                self.engine, self.options, self.process, self.inflight, self.lanes, self.events
            )
            self.round.on_claimed = self._take_in
            self.housekeeper = Housekeeper(self.options.using)
            while not self._is_over():
                self._turn()
        except BaseException as error:
            logger.critical("The loop of this worker broke down.", exc_info=True)
            self.error = error
        finally:
            self.done.set()
            self.on_done()
            connections.close_all()

    def _is_over(self) -> bool:
        if self._end_by is None:
            return False
        return self.inflight.is_empty or time.monotonic() > self._end_by

    def _turn(self) -> None:
        """One round, then one batch of housekeeping, then a rest if neither found anything."""
        # During an outage, too: what is in flight must not wait behind a handler that waits.
        self.pool.wake()
        try:
            found = self._one_round()
            self.stats.note(found.claimed)
            busy = self._keep_house() or found.more
            if not busy:
                self._look_or_rest()
            self._in_vain = self._nothing_left and not busy
            self._came_back()
        except Error as error:
            self._failed(error)

    def _one_round(self) -> Found:
        named = self.wakeup.take()
        for queue, priority in named:
            self.lanes.add(queue, priority)
            self._second_look = True
        free, prefetch = self._wants()
        # Before anything is taken out of the table: a look may fail.
        lanes = self._due_lanes(look=not named) if free + prefetch else []
        finished = self.inflight.take_finished()
        if not self.claiming.is_set():
            finished += self.inflight.take_back_waiting()
        self._nothing_left = not finished and not lanes
        if self._nothing_left:
            return Found(claimed=False, more=False)
        self.round.is_last = self._end_by is not None
        try:
            found = self.round.run(finished, lanes, free, prefetch)
        except BaseException:
            for entry in finished:
                entry.uncertain = True
            self.inflight.put_back(finished)
            raise
        self._nothing_left = not finished and not found.more
        return found

    def _wants(self) -> tuple[int, int]:
        """Return how many messages to claim, in free seats and beyond them."""
        if not self.claiming.is_set() or not self.renewing.is_set() or self._is_refused():
            return 0, 0
        free, prefetch = self.prefetch.now()
        # Messages that wait for a free seat must not wait for all that could be taken beyond the seats.
        return free, 0 if self.round.lacks_seats else prefetch

    def _is_refused(self) -> bool:
        """Whether the database refuses so many outcomes that it is not about one of them; said once."""
        refused = self.inflight.count_aside >= MOST_UNWRITTEN
        if refused and not self._was_refused:
            logger.error("This worker claims nothing until the database takes the outcomes that it refuses.")
        self._was_refused = refused
        return refused

    def _due_lanes(self, *, look: bool) -> Sequence[Lane]:
        # Whoever names a lane waits for its message: all others can wait for the next round.
        if look and self.lanes.is_stale:
            self._look(waiting=False)
        return self.lanes.due()

    def _look(self, *, waiting: bool) -> None:
        self.wakeup.note_version(self.engine)
        self.lanes.look(waiting=waiting)

    def _take_in(self, claimed: Sequence[Claimed]) -> None:
        self.prefetch.took(len(claimed))
        entries = self.taker.take(claimed)
        if self.claiming.is_set():
            # What arrives after the stop stays out of the seats' reach, and is given back.
            self.pool.put(
                [entry for entry in entries if entry.refusal is None and not entry.claimed.is_poison_suspect]
            )
        self._let_suspect_run()

    def _let_suspect_run(self) -> None:
        """InFlight over a message that may kill the process, once nothing is beside it."""
        held = self.inflight.in_state(WAITING, RUNNING, FINISHED)
        alone = len(held) == 1 and held[0].state == WAITING and held[0].claimed.is_poison_suspect
        if alone and self.claiming.is_set():
            self.pool.put(held)

    def _keep_house(self) -> bool:
        """Take a step of the housekeeping; what the database refuses of it holds up no message."""
        if not self.claiming.is_set() or self.options.until_empty:
            return False
        try:
            return self.housekeeper.step()
        except Error as error:
            if self.engine.fault_of(error) is not Fault.REFUSAL:
                raise
            logger.error("A part of the housekeeping was refused: %s", in_short(error))
            return False

    # -- rest, and trouble --------------------------------------------------------------------------

    def _look_or_rest(self) -> None:
        """After a round that found nothing: see whether there is something to do after all, or rest."""
        if not self._last_look():
            self._rest()
        elif self._in_vain and self._nothing_left:
            # For the second time in a row: what is due is locked.
            self.wakeup.wait(LOCKED_PAUSE)

    def _last_look(self) -> bool:
        """Before a rest: say that this worker waits, and look; return whether there is something to do."""
        self._let_suspect_run()
        free, prefetch = self._wants()
        if not free + prefetch:
            ends = self.prefetch.is_sated or (self.options.until_empty and self._is_refused())
            if ends and self._end_by is None:
                self.end()
            return False
        if self.options.until_empty and self.inflight.is_empty:
            return not self._end_if_empty()
        if self.round.said_waiting and self.lanes.are_all_known:
            return False
        self._second_look = not self.round.said_waiting
        self._look(waiting=True)
        self.round.said_waiting = True
        return self.lanes.has_due

    def _end_if_empty(self) -> bool:
        """End an until-empty worker once nothing that it knows is due, whatever it remembers."""
        if not self._nothing_left:
            self.lanes.forget()
        elif not self.lanes.look_for_known(registry.types()):
            self.end()
            return True
        return False

    def _rest(self) -> None:
        if self._end_by is not None:
            # Another session has a row locked that is to be given back.
            self.wakeup.wait(LOCKED_PAUSE)
            return
        # With no seat free there is nothing to look for.
        may_claim = any(self._wants())
        seconds = self._poll_seconds(may_claim)
        if self._second_look:
            seconds = min(seconds, SECOND_LOOK)
        self._second_look = False
        if self.pool.wake():
            # What waits was thought to take no time; if it does, more seats are needed soon.
            seconds = min(seconds, ROUSE_SECONDS)
        seconds = max(0.0, min(seconds, self.inflight.next_try_in))
        ended_by = self.wakeup.wait(seconds, self.engine if may_claim else None)
        self.lanes.look_after_rest(ended_by)

    def _poll_seconds(self, may_claim: bool) -> float:
        poll = self.options.poll_seconds or (self.engine.poll_seconds if self.wakeup.listening else 1.0)
        next_due = self.lanes.next_due_in() if may_claim else None
        return poll if next_due is None else min(poll, max(next_due, 0.001))

    def _failed(self, error: Error) -> None:
        """An outage never ends a worker: wait a little, with jitter, and say it once."""
        force_close(connections[self.options.using])
        if self._outage_since is None:
            self._outage_since = time.monotonic()
            logger.warning("The database cannot be used, trying again: %s", in_short(error))
        self.wakeup.wait(self.stats.failed())

    def _came_back(self) -> None:
        if self._outage_since is not None:
            logger.warning("The database is back after %.1f s.", time.monotonic() - self._outage_since)
            self._outage_since = None
            self.lanes.forget()
            self.round.said_waiting = False

"""The worker loop: the one thread of a worker that talks to the queue, turn after turn.

Nothing waits for a batch to fill: while one is in flight outcomes gather, and the next batch takes them
all, so batches grow with load and vanish without it. What a batch does is in batch.py.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from uuid import UUID

from django.db import Error, connections

from .. import counts, registry
from ..conf import on_database
from ..engines import MOST_LISTENERS, Engine, Fault, Lane, Refused, Rest, adopt_own_connection, in_short
from ..maintenance import Maintenance
from .batch import Batch, BatchResult
from .events import Events
from .inflight import InFlight, InFlightTable
from .isolation import force_close
from .lanes import Lanes, Watermarks
from .options import Options
from .pool import HandlerPool
from .prefetch import Prefetch, Wanted
from .wakeup import Wakeup

logger = logging.getLogger("django_letsgo_worker.worker")

# A worker that went idle looks once more after this many seconds: a transaction that began while it was
# busy may have committed between its last look and its saying so.
SECOND_LOOK = 0.05
# So many listeners stay on the list of a queue although they are at work: the others are at rest.
SPARE_LISTENERS = 2
# How soon to try again what another session has locked, in seconds.
LOCKED_PAUSE = 0.05
# How soon to see whether messages wait behind one that takes longer than the last ones did.
WAKE_SECONDS = 0.005
# With this many outcomes that the database refuses, nothing is claimed: it would refuse the next ones too.
MOST_UNWRITTEN = 100
# How long to try, at the end, to give back what another session has locked, in seconds.
GIVE_BACK_SECONDS = 3.0


class LoopStats:
    """When the worker loop last came round, and what its turns found; for monitoring."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.results = {"claimed": 0, "empty": 0, "error": 0}

    def note(self, claimed: bool) -> None:
        """Note a turn, and whether it claimed messages."""
        self.at = time.monotonic()
        self.results["claimed" if claimed else "empty"] += 1

    def failed(self) -> float:
        """Note a turn that failed; return how long to wait before the next, with jitter, in seconds."""
        self.at = time.monotonic()
        self.results["error"] += 1
        return random.uniform(0.1, 1.0)


class WorkerLoop(threading.Thread):
    """Claims and settles until it is told to end; `done` is set when it has ended."""

    # Made by run(): they work with the connection of its thread.
    engine: Engine
    lanes: Lanes
    batch: Batch
    maintenance: Maintenance

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
        self.events = Events()
        self.stats = LoopStats()
        self.done = threading.Event()
        self.error: BaseException | None = None
        self._end_by: float | None = None
        self._outage_since: float | None = None
        # Whether the database refuses more outcomes than single ones would explain.
        self._is_refused = False
        # Whether the database refused the last statistics.
        self._are_counts_refused = False
        self._second_look = False
        # How many turns in a row have found nothing to do.
        self._idle_turns = 0

    # -- told from outside --------------------------------------------------------------------------

    def stop_claiming(self) -> None:
        """Stop claiming, and give back what has not begun."""
        self.inflight.close()
        self.wakeup.wake()

    def end(self, within: float = GIVE_BACK_SECONDS) -> None:
        """Settle what is left and end, after `within` seconds at the latest."""
        self._end_by = time.monotonic() + within
        self.inflight.try_again()
        self.stop_claiming()

    # -- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        with on_database(self.options.using):
            self._run()

    def _run(self) -> None:
        try:
            self.engine = adopt_own_connection(self.options.using)
            self.lanes = Lanes(self.engine, self.options, Watermarks())
            self.batch = Batch(self.engine, self.options, self.process, self.inflight, self.events)
            self.maintenance = Maintenance(self.options.using)
            while not self._is_over():
                self._turn()
            self._write_last_counts()
            self._write_last_failures()
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
        """Settle what has finished and claim what fits; with nothing to do, look once more, then rest."""
        # Before anything can fail: in an outage, too, messages in flight must not wait behind a slow handler.
        self.pool.wake()
        try:
            # Before the load is read: a message that ends from here on ends the next rest.
            named = self.wakeup.take()
            wanted = self._wanted()
            lanes = self._due_lanes(wanted, named)
            result = self.batch.settle_and_claim(
                self._finished(), wanted, lanes, is_last=self._end_by is not None
            )
            self.pool.wake()
            self._learn(result, wanted)
            self._write_failures()
            busy = self._maintain() or result.more or (bool(lanes) and self.lanes.has_unasked)
            self._write_counts(self.events.counting.take_due())
            self._idle_turns = 0 if busy or result.settled else self._idle_turns + 1
            if not busy and not self._finds_work(wanted):
                self._rest(wanted)
            self._note_recovery()
        except Error as error:
            self._wait_out(error)

    def _wanted(self) -> Wanted:
        """Return how many messages to claim in this turn."""
        load = self.inflight.load
        refused = load.unwritten >= MOST_UNWRITTEN
        if refused and not self._is_refused:
            logger.error("This worker claims nothing until the database takes the outcomes that it refuses.")
        self._is_refused = refused
        if refused or self.inflight.is_closed or not self.renewing.is_set():
            return Wanted(0, 0)
        return self.prefetch.now(load)

    def _due_lanes(self, wanted: Wanted, named: set[tuple[str, int]]) -> Sequence[Lane]:
        """Return the lanes to claim from, with those that a wake-up named."""
        for queue, priority in named:
            self.lanes.add(queue, priority)
            self._second_look = True
        if not any(wanted):
            return ()
        # A named lane has a message that somebody waits for: the look for all others can wait a turn.
        if not named and self.lanes.is_stale:
            # A worker that has said it waits learns at each look whether it is still needed on the list.
            self._look(self._said_at_rest() if self.lanes.said_waiting else None)
        return self.lanes.due(sum(wanted))

    def _look(self, rest: Rest | None = None) -> None:
        self.wakeup.note_version(self.engine)
        self.lanes.look(rest=rest)
        self.wakeup.is_needed = self.lanes.is_needed

    def _finished(self) -> list[InFlight]:
        finished = self.inflight.take_finished()
        return finished + self.inflight.take_back_waiting() if self.inflight.is_closed else finished

    def _learn(self, result: BatchResult, wanted: Wanted) -> None:
        """Take in what a batch saw: where to claim next, how much, and when to look again."""
        self.stats.note(bool(result.claimed))
        if result.claims:
            self.lanes.note(result.claims)
            self.prefetch.note(lacks_seats=result.lacks_seats)
        if any(registry.find(type) for timed in result.claims for type in timed.claim.unknown):
            # A receiver that heard of an unknown type has imported what registers it.
            self.lanes.learned()
        elif result.made_work:
            # A claim in the same statement could not see the new work.
            self.lanes.forget()
        if self.lanes.said_waiting and result.claimed >= sum(wanted) > 0:
            self.lanes.say_busy({row.queue for timed in result.claims for row in timed.claim.rows})

    def _write_failures(self) -> None:
        if not self.events.failures.due_in:
            self.events.failures.write(self.engine)

    def _write_last_failures(self) -> None:
        try:
            self.events.failures.write(self.engine)
        except Error as error:
            logger.warning("The last failures of this worker are not recorded: %s", in_short(error))

    def _maintain(self) -> bool:
        """Take a step of the maintenance; what the database refuses of it holds up no message."""
        if self.inflight.is_closed:
            return False
        try:
            return self._work_off() or (not self.options.until_empty and self.maintenance.step())
        except Error as error:
            if self.engine.fault_of(error) is not Fault.REFUSAL:
                raise
            logger.error("A part of the housekeeping was refused: %s", in_short(error))
            return False

    def _work_off(self) -> bool:
        """Do a batch of a bulk operation, if one waits."""
        if self.wakeup.take_operation():
            self.maintenance.expect_operation()
        if not self.maintenance.work_off(is_told=self.wakeup.is_told):
            return False
        self.lanes.forget()
        return True

    def _write_counts(self, taken: Mapping[counts.Place, counts.Count]) -> None:
        """Write the counts of a minute; those that cannot be written are kept for the next."""
        if not taken:
            return
        try:
            self.engine.insist(partial(counts.add, taken, self.options.using))
            self._are_counts_refused = False
        except Refused as refused:
            self.events.counting.put_back(taken)
            if not self._are_counts_refused:
                logger.warning("The statistics of this worker are refused, and kept: %s", in_short(refused))
            self._are_counts_refused = True
        except Error:
            self.events.counting.put_back(taken)
            raise

    def _write_last_counts(self) -> None:
        try:
            self._write_counts(self.events.counting.take_all())
        except Error as error:
            logger.warning("The last statistics of this worker could not be written: %s", in_short(error))

    # -- before a rest ------------------------------------------------------------------------------

    def _finds_work(self, wanted: Wanted) -> bool:
        """Before a rest: say that this worker waits, and look; return whether there is something to do."""
        if not self._last_look(wanted):
            return False
        if self._idle_turns > 1:
            # For the second time in a row: what is due is locked.
            self.wakeup.wait(LOCKED_PAUSE)
        return True

    def _last_look(self, wanted: Wanted) -> bool:
        if not any(wanted):
            self._end_if_sated()
            return False
        if self.options.until_empty and self.inflight.is_empty:
            return not self._end_if_empty()
        has_said = self.lanes.said_waiting and self.lanes.listener == self.wakeup.listener
        if has_said and self.lanes.are_all_known:
            return False
        self._second_look = not has_said
        self._look(self._said_at_rest())
        return self.lanes.has_due

    def _said_at_rest(self) -> Rest:
        """Return what this worker says while it waits for work."""
        # One whose handler takes long leaves the list to workers that are idle, if there are any.
        most = SPARE_LISTENERS if self.inflight.count_stuck(SECOND_LOOK) else MOST_LISTENERS
        return Rest(self.options.queues, self.options.excluded_queues, self.wakeup.listener, most)

    def _end_if_sated(self) -> None:
        """End a worker that has taken as many messages as it was told to, or that cannot claim any longer."""
        if self._end_by is None and (
            self.prefetch.is_sated or (self.options.until_empty and self._is_refused)
        ):
            self.end()

    def _end_if_empty(self) -> bool:
        """End an until-empty worker once nothing that it knows is due, whatever it remembers."""
        if not self._idle_turns:
            self.lanes.forget()
        elif not self.lanes.look_for_known(registry.types()):
            self.end()
            return True
        return False

    def _rest(self, wanted: Wanted) -> None:
        if self._end_by is not None:
            # Another session has a row locked that is to be given back.
            self.wakeup.wait(LOCKED_PAUSE)
            return
        seconds = self._poll_seconds(wanted)
        if self._second_look:
            seconds = min(seconds, SECOND_LOOK)
        self._second_look = False
        if self.pool.wake():
            # The waiting messages were expected to take no time; if they do, more threads are needed soon.
            seconds = min(seconds, WAKE_SECONDS)
        to_write = min(self.events.failures.due_in, self.events.counting.due_in)
        to_prune = float("inf") if self.inflight.is_closed else self.maintenance.due_in
        seconds = max(0.0, min(seconds, self.inflight.next_try_in, to_write, to_prune))
        # With nothing to claim there is nothing to look for.
        ended_by = self.wakeup.wait(seconds, self.engine if any(wanted) else None)
        if ended_by == "written":
            self.maintenance.expect_operation()
        self.lanes.look_after_rest(ended_by)

    def _poll_seconds(self, wanted: Wanted) -> float:
        poll = self.options.poll_seconds or (self.engine.poll_seconds if self.wakeup.is_told else 1.0)
        next_due = self.lanes.next_due_in() if any(wanted) else None
        return poll if next_due is None else min(poll, max(next_due, 0.001))

    # -- outages ------------------------------------------------------------------------------------

    def _wait_out(self, error: Error) -> None:
        """Wait a little, with jitter, and say it once: an outage never ends a worker."""
        force_close(connections[self.options.using])
        if self._outage_since is None:
            self._outage_since = time.monotonic()
            logger.warning("The database cannot be used, trying again: %s", in_short(error))
        self.wakeup.wait(self.stats.failed())

    def _note_recovery(self) -> None:
        if self._outage_since is not None:
            logger.warning("The database is back after %.1f s.", time.monotonic() - self._outage_since)
            self._outage_since = None
            self.lanes.forget_all()

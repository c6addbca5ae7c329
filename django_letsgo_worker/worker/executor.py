"""Run one delivery: call its handler, whatever that does, and return the outcome.

An atomic handler is acknowledged here, in its own transaction; all others are settled by the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from datetime import datetime
from inspect import isawaitable
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError, Error, connections, transaction
from django.db.transaction import TransactionManagementError

from ..conf import settings
from ..context import begin, restored
from ..delivery import Delivery
from ..engines import AtomicScope, Engine, Fault, Settlement, engine_for, in_short
from ..errors import LeaseLost, OutcomeRefused
from ..functions import lazy_kind
from ..messages import settlements
from ..outcomes import Outcome, Policy, decide
from ..policies import classes_of
from ..registry import Handler
from ..signals import delivery_failed, delivery_started
from ..validation import without_frames
from .inflight import InFlight
from .isolation import force_close

logger = logging.getLogger("django_letsgo_worker.worker")

Call = Callable[[InFlight], Any]


def run(
    entry: InFlight, call: Call, *, using: str, process: UUID, process_name: str, now: datetime | None = None
) -> tuple[Outcome, bool]:
    """Run the handler in its own context; return the outcome, and whether it is settled already."""
    context = contextvars.copy_context()
    if entry.handler.atomic:
        return context.run(_AtomicRun(entry, call, using, process, process_name, now).run)
    return context.run(_run_plain, entry, call), False


def announce(entry: InFlight) -> bool:
    """Announce that the delivery begins; return whether the signal has receivers."""
    if not (delivery_started.receivers and delivery_started.has_listeners(Delivery)):
        return False
    contextvars.copy_context().run(delivery_started.send_robust, sender=Delivery, delivery=entry.delivery)
    return True


def _run_plain(entry: InFlight, call: Call) -> Outcome:
    begin(entry.delivery)
    result, error = attempt(entry, call)
    return outcome_of(entry, error, result)


def attempt(entry: InFlight, call: Call) -> tuple[Any, BaseException | None]:
    """Call the handler; return its result, or whatever it raised."""
    if entry.handler.is_async:
        # It enters its context on the event loop, where it runs: a language, for one, holds per thread.
        try:
            return call(entry), None
        except BaseException as error:
            return None, error
    try:
        with restored(entry.delivery):
            try:
                return call(entry), None
            except BaseException as error:
                note_failure(entry, error)
                raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: a failed attempt, not our end
        return None, error


def note_failure(entry: InFlight, error: BaseException) -> None:
    """Decide about an exception of a handler, and announce it where it was raised, inside its context."""
    entry.decided = outcome = outcome_of(entry, error, None)
    is_ours = not (entry.interrupted or entry.lost)
    if outcome.recorded and is_ours and delivery_failed.has_listeners(Delivery):
        delivery_failed.send_robust(
            sender=Delivery,
            delivery=entry.delivery,
            outcome=outcome.name,
            seconds=time.monotonic() - entry.started,
            exception=error,
            delay=outcome.delay_seconds if outcome.name == "retry" else None,
        )


def call(entry: InFlight) -> Any:
    """Call a sync handler, on its thread; an awaitable that it returns is awaited here as well.

    That is how an async function behind a plain decorator looks; its ORM calls come back to this thread,
    and so into the transaction of an atomic handler.
    """
    result = entry.handler.function(entry.delivery)
    if result is None:
        return None
    if isawaitable(result):
        result, error = async_to_sync(_awaited)(entry, result)
        if error is not None:
            raise error
    return _that_has_run(entry, result)


async def attempt_async(
    entry: InFlight, note: Callable[[InFlight, BaseException], None] = note_failure
) -> tuple[Any, BaseException | None]:
    """Call an async handler; return its result, or whatever it raised: TimeoutError if it took too long.

    `note` is called with what it raised, on the thread of its ORM calls.
    """
    begin(entry.delivery)
    try:
        with restored(entry.delivery):
            result, error = await _awaited(entry, entry.handler.function(entry.delivery))
            try:
                if error is not None:
                    raise error
                return _that_has_run(entry, result), None
            except BaseException as raised:
                await sync_to_async(note, thread_sensitive=True)(entry, raised)
                raise
    except BaseException as raised:  # a SystemExit that leaves a task ends its event loop
        return None, raised


async def _awaited(entry: InFlight, result: Any) -> tuple[Any, BaseException | None]:
    """Await what a handler returned until it is a result, for no longer than its time-out."""
    try:
        async with asyncio.timeout(entry.handler.timeout):
            while isawaitable(result):
                result = await result
            return result, None
    except BaseException as error:
        return None, error


def _that_has_run(entry: InFlight, result: Any) -> Any:
    if (kind := lazy_kind(result)) is not None:
        raise TypeError(
            f"The handler of {entry.claimed.type!r} gave back {kind}, of which nothing has run: loop over it "
            "in the handler."
        )
    return result


def outcome_of(
    entry: InFlight, error: BaseException | None, result: Any, *, by_handler: bool = True
) -> Outcome:
    """Decide about an attempt; a handler's rules for exceptions apply only to those that it raised itself."""
    if error is not None and entry.decided is not None and entry.decided.exception is error:
        return entry.decided
    assert entry.delivery is not None
    policy = ANY_POLICY if error is None else _policy_of(entry.handler, by_handler)
    return decide(entry.delivery, error, policy, result)


# Of a success none is asked.
ANY_POLICY = Policy()


def _policy_of(handler: Handler, by_handler: bool) -> Policy:
    backoff = handler.backoff if handler.backoff is not None else settings().backoff
    if not by_handler:
        return Policy(backoff=backoff)
    return Policy(
        backoff=backoff,
        retry_on=None if handler.retry_on is None else classes_of(handler.retry_on),
        give_up_on=classes_of(handler.give_up_on),
        succeed_on=classes_of(handler.succeed_on),
    )


def unhanded(entry: InFlight, error: BaseException) -> Outcome:
    """Decide about a message that is unreadable, or whose delivery broke outside its handler."""
    if entry.delivery is not None:
        return outcome_of(entry, error, None, by_handler=False)
    # A payload that is not JSON today is not JSON tomorrow.
    is_unreadable = isinstance(error, (ValueError, RecursionError))
    if is_unreadable or entry.claimed.attempts >= entry.claimed.max_attempts:
        return Outcome(name="dead", exception=error, recorded=True)
    return Outcome(name="retry", delay_seconds=60.0, exception=error, recorded=True)


def settlement_of(entry: InFlight, process_name: str) -> Settlement:
    """Return the settlement of a message that this process is done with; worked out once."""
    if entry.refusal is not None:
        return entry.refusal
    if entry.outcome is None:
        # Never begun, or interrupted: as if it had not been claimed.
        deaths = 0 if entry.interrupted else entry.claimed.deaths
        entry.settlement = settlements.release_of(entry.claimed, deaths=deaths)
    elif entry.settlement is None:
        entry.settlement = settlements.settlement_of(
            entry.claimed,
            entry.outcome,
            seconds=entry.seconds,
            ended_seconds_ago=time.monotonic() - entry.ended,
            process=process_name,
            handler=entry.handler,
        )
    return entry.settlement


class _AtomicRun:
    """One transaction: the guard, the handler within a savepoint, the settlement, the commit."""

    def __init__(
        self, entry: InFlight, call: Call, using: str, process: UUID, process_name: str, now: datetime | None
    ) -> None:
        self.entry = entry
        self.call = call
        self.using = using
        self.process = process
        self.process_name = process_name
        self.now = now
        self.committing = self.committed = False
        self.outcome: Outcome | None = None
        self.raised: BaseException | None = None

    def run(self) -> tuple[Outcome, bool]:
        begin(self.entry.delivery)
        try:
            with transaction.atomic(using=self.using):
                self.outcome = self._run_and_settle()
                self.committing = True
        except LeaseLost as error:
            return Outcome(name="lost", exception=error), True
        except BaseException as error:
            return self._failed(error)
        return self.outcome, True

    def _run_and_settle(self) -> Outcome:
        engine = engine_for(self.using)
        self.entry.connection = engine.connection
        # Registered before all other callbacks, so it runs after the commit and before any of them can fail.
        transaction.on_commit(self._note_commit, using=self.using)
        scope: AtomicScope = engine.atomic_scope(self.process, self.entry.lease)
        if not scope.open():
            raise LeaseLost(self.entry.claimed.id, self.entry.claimed.attempts)
        outcome = self._attempt_within(scope)
        seconds = time.monotonic() - self.entry.started
        settlement = settlements.settlement_of(
            self.entry.claimed,
            outcome,
            seconds=seconds,
            process=self.process_name,
            handler=self.entry.handler,
        )
        self.entry.settlement = settlement
        if not engine.skip_locked:
            self._warn_if_long(seconds)
        written = self._settle(engine, scope, settlement)
        if not written:
            # The handler ended our transaction behind Django's back, which released the lock.
            raise LeaseLost(self.entry.claimed.id, self.entry.claimed.attempts)
        self.entry.settled_as = written[settlement.id]
        return outcome

    def _settle(self, engine: Engine, scope: AtomicScope, settlement: Settlement) -> dict[int, str]:
        error: Exception
        try:
            return scope.settle(settlement, keep=settlements.kept_outcomes(), now=self.now)
        except Error as caught:
            # Without its frames: the statement's values are among their variables.
            error = without_frames(caught)
            if engine.fault_of(caught) is Fault.REFUSAL:
                error = OutcomeRefused(settlement.id, in_short(caught))
        raise error

    def _note_commit(self) -> None:
        self.committed = True

    def _attempt_within(self, scope: AtomicScope) -> Outcome:
        """Attempt it; an exception of the handler rolls back what it wrote, and nothing else."""

        def call(entry: InFlight) -> Any:
            with scope:
                result = self.call(entry)
                if connections[self.using].needs_rollback:
                    # Django would roll back in silence, and the message would count as done.
                    raise TransactionManagementError(
                        "The handler caught a database error and went on, but its transaction cannot: what "
                        "it wrote is rolled back. Put what may fail into a transaction.atomic() of its own."
                    )
            return result

        result, self.raised = attempt(self.entry, call)
        return outcome_of(self.entry, self.raised, result)

    def _warn_if_long(self, seconds: float) -> None:
        """Warn of a long handler where there is one writer: its transaction keeps the heartbeat out too."""
        lease = settings().lease_seconds
        if seconds > lease / 3:
            logger.warning(
                "The atomic handler of message %s (%s) kept all other writers out for %.1f s: keep it under "
                "%.1f s, a third of the lease.",
                self.entry.claimed.id,
                self.entry.claimed.type,
                seconds,
                lease / 3,
            )

    def _failed(self, error: BaseException) -> tuple[Outcome, bool]:
        """Say what an error outside the handler means: before, in, or after the commit."""
        force_close(connections[self.using])
        if not self.committing:
            # The connection broke, or the handler broke it: the handler's own exception says more.
            by_handler = self.raised is not None
            return outcome_of(self.entry, self.raised or error, None, by_handler=by_handler), False
        assert self.outcome is not None
        if self.committed:
            logger.error("A callback on commit of message %s failed.", self.entry.claimed.id, exc_info=error)
            return self.outcome, True
        engine = engine_for(self.using)
        if isinstance(error, DatabaseError) and not engine.is_outage(error):
            # A deferred constraint, or a serialization failure: the database said no, nothing was written.
            by_handler = not engine.is_transient(error)
            return outcome_of(self.entry, error, None, by_handler=by_handler), False
        # Nobody knows whether the commit was carried out. The message is archived, or will lapse.
        logger.warning(
            "The commit of message %s has an unknown outcome: %s", self.entry.claimed.id, in_short(error)
        )
        return Outcome(name="unknown", exception=error), True

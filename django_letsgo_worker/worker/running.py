"""Run one delivery: call its handler, whatever that does, and say what became of it.

An atomic handler is acknowledged here, in its own transaction; all else is settled by the exchange.
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
from ..context import restored
from ..delivery import Delivery
from ..engines import Engine, Fault, Hold, Settlement, engine_for, in_short
from ..errors import LeaseLost, OutcomeRefused
from ..functions import lazy_kind
from ..messages import working
from ..outcomes import Outcome, Policy, decide
from ..payloads import without_frames
from ..signals import delivery_failed, delivery_started
from .hands import Hand
from .isolation import force_close

logger = logging.getLogger("django_letsgo_worker.worker")

Call = Callable[[Hand], Any]


def run(
    hand: Hand, call: Call, *, using: str, process: UUID, process_name: str, now: datetime | None = None
) -> tuple[Outcome, bool]:
    """Run the handler in a context of its own; return the outcome, and whether it is settled already."""
    context = contextvars.copy_context()
    if hand.handler.atomic:
        return context.run(_AtomicRun(hand, call, using, process, process_name, now).run)
    return context.run(_run_plain, hand, call), False


def announce(hand: Hand) -> bool:
    """Say that the delivery begins; return whether anybody listened."""
    if not (delivery_started.receivers and delivery_started.has_listeners(Delivery)):
        return False
    contextvars.copy_context().run(delivery_started.send_robust, sender=Delivery, delivery=hand.delivery)
    return True


def _run_plain(hand: Hand, call: Call) -> Outcome:
    result, error = attempt(hand, call)
    return outcome_of(hand, error, result)


def attempt(hand: Hand, call: Call) -> tuple[Any, BaseException | None]:
    """Call the handler; return its result, or whatever it raised."""
    if hand.handler.is_async:
        # It enters its context where it runs: a language, for one, holds for its thread only.
        try:
            return call(hand), None
        except BaseException as error:
            return None, error
    try:
        with restored(hand.delivery):
            try:
                return call(hand), None
            except BaseException as error:
                note_failure(hand, error)
                raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: a failed attempt, not our end
        return None, error


def note_failure(hand: Hand, error: BaseException) -> None:
    """Decide about what a handler raised, and say so where it was raised, inside its context."""
    hand.decided = outcome = outcome_of(hand, error, None)
    is_ours = not (hand.interrupted or hand.lost)
    if outcome.recorded and is_ours and delivery_failed.has_listeners(Delivery):
        delivery_failed.send_robust(
            sender=Delivery,
            delivery=hand.delivery,
            outcome=outcome.name,
            seconds=time.monotonic() - hand.started,
            exception=error,
            delay=outcome.delay_seconds if outcome.name == "retry" else None,
        )


def call(hand: Hand) -> Any:
    """Call a sync handler, on its thread. What it gives back to be awaited is awaited here as well.

    That is how an async function behind a plain decorator looks; its ORM calls come back to this thread,
    and so into the transaction of an atomic handler.
    """
    result = hand.handler.function(hand.delivery)
    if result is None:
        return None
    if isawaitable(result):
        result, error = async_to_sync(_awaited)(hand, result)
        if error is not None:
            raise error
    return _that_has_run(hand, result)


async def attempt_async(
    hand: Hand, note: Callable[[Hand, BaseException], None] = note_failure
) -> tuple[Any, BaseException | None]:
    """Call an async handler; return its result, or whatever it raised: TimeoutError if it took too long.

    `note` is told of what it raised, on the thread of its ORM calls.
    """
    try:
        with restored(hand.delivery):
            result, error = await _awaited(hand, hand.handler.function(hand.delivery))
            try:
                if error is not None:
                    raise error
                return _that_has_run(hand, result), None
            except BaseException as raised:
                await sync_to_async(note, thread_sensitive=True)(hand, raised)
                raise
    except BaseException as raised:  # a SystemExit that leaves a task ends its event loop
        return None, raised


async def _awaited(hand: Hand, result: Any) -> tuple[Any, BaseException | None]:
    """Await what a handler gave back until that is a result, for no longer than its time-out."""
    try:
        async with asyncio.timeout(hand.handler.timeout):
            while isawaitable(result):
                result = await result
            return result, None
    except BaseException as error:
        return None, error


def _that_has_run(hand: Hand, result: Any) -> Any:
    if (kind := lazy_kind(result)) is not None:
        raise TypeError(
            f"The handler of {hand.claimed.type!r} gave back {kind}, of which nothing has run: loop over it "
            "in the handler."
        )
    return result


def outcome_of(hand: Hand, error: BaseException | None, result: Any, *, by_handler: bool = True) -> Outcome:
    """Decide about an attempt; what a handler says of exceptions holds for those that it raised itself."""
    if error is not None and hand.decided is not None and hand.decided.exception is error:
        return hand.decided
    handler = hand.handler
    backoff = handler.backoff if handler.backoff is not None else settings().backoff
    if by_handler:
        policy = Policy(backoff=backoff, retry_on=handler.retry_on, give_up_on=handler.give_up_on)
    else:
        policy = Policy(backoff=backoff)
    assert hand.delivery is not None
    return decide(hand.delivery, error, policy, result)


def unhanded(hand: Hand, error: BaseException) -> Outcome:
    """Decide about a message whose payload cannot be read, or whose seat broke."""
    if hand.delivery is not None:
        return outcome_of(hand, error, None, by_handler=False)
    # What is no JSON today is none tomorrow.
    is_unreadable = isinstance(error, (ValueError, RecursionError))
    if is_unreadable or hand.claimed.attempts >= hand.claimed.max_attempts:
        return Outcome(name="dead", exception=error, recorded=True)
    return Outcome(name="retry", delay_seconds=60.0, exception=error, recorded=True)


class _AtomicRun:
    """One transaction: the guard, the handler within a savepoint, the settlement, the commit."""

    def __init__(
        self, hand: Hand, call: Call, using: str, process: UUID, process_name: str, now: datetime | None
    ) -> None:
        self.hand = hand
        self.call = call
        self.using = using
        self.process = process
        self.process_name = process_name
        self.now = now
        self.committing = self.committed = False
        self.outcome: Outcome | None = None
        self.raised: BaseException | None = None

    def run(self) -> tuple[Outcome, bool]:
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
        self.hand.connection = engine.connection
        # Registered before all others, so it runs once the commit is done and before any of them fails.
        transaction.on_commit(self._note_commit, using=self.using)
        hold: Hold = engine.hold(self.process, self.hand.lease)
        if not hold.open():
            raise LeaseLost(self.hand.claimed.id, self.hand.claimed.attempts)
        outcome = self._attempt_within(hold)
        seconds = time.monotonic() - self.hand.started
        settlement = working.settlement_of(
            self.hand.claimed,
            outcome,
            seconds=seconds,
            process=self.process_name,
            on_dead=self.hand.handler.on_dead,
        )
        self.hand.settlement = settlement
        if not engine.skip_locked:
            self._warn_if_long(seconds)
        written = self._settle(engine, hold, settlement)
        if not written:
            # The handler ended our transaction behind Django's back, and with it the lock.
            raise LeaseLost(self.hand.claimed.id, self.hand.claimed.attempts)
        return outcome

    def _settle(self, engine: Engine, hold: Hold, settlement: Settlement) -> dict[int, str]:
        error: Exception
        try:
            return hold.settle(settlement, keep=working.kept_outcomes(), now=self.now)
        except Error as caught:
            # Without the frames that it came through: the statement's values are among their variables.
            error = without_frames(caught)
            if engine.fault_of(caught) is Fault.REFUSAL:
                error = OutcomeRefused(settlement.id, in_short(caught))
        raise error

    def _note_commit(self) -> None:
        self.committed = True

    def _attempt_within(self, hold: Hold) -> Outcome:
        """Attempt it; what the handler raises takes back what it wrote, and no more."""

        def call(hand: Hand) -> Any:
            with hold:
                result = self.call(hand)
                if connections[self.using].needs_rollback:
                    # Django would roll back in silence, and the message would count as done.
                    raise TransactionManagementError(
                        "The handler caught a database error and went on, but its transaction cannot: what "
                        "it wrote is rolled back. Put what may fail into a transaction.atomic() of its own."
                    )
            return result

        result, self.raised = attempt(self.hand, call)
        return outcome_of(self.hand, self.raised, result)

    def _warn_if_long(self, seconds: float) -> None:
        """Where there is one writer, a handler's transaction keeps the heartbeat out as well."""
        lease = settings().lease_seconds
        if seconds > lease / 3:
            logger.warning(
                "The atomic handler of message %s (%s) kept all other writers out for %.1f s: keep it under "
                "%.1f s, a third of the lease.",
                self.hand.claimed.id,
                self.hand.claimed.type,
                seconds,
                lease / 3,
            )

    def _failed(self, error: BaseException) -> tuple[Outcome, bool]:
        """Say what an error outside the handler means: before, in, or after the commit."""
        force_close(connections[self.using])
        if not self.committing:
            # The connection broke, or the handler broke it: what it raised itself says more.
            by_handler = self.raised is not None
            return outcome_of(self.hand, self.raised or error, None, by_handler=by_handler), False
        assert self.outcome is not None
        if self.committed:
            logger.error("A callback on commit of message %s failed.", self.hand.claimed.id, exc_info=error)
            return self.outcome, True
        engine = engine_for(self.using)
        if isinstance(error, DatabaseError) and not engine.is_outage(error):
            # A deferred constraint, or a serialization failure: the database said no, nothing was written.
            by_handler = not engine.is_transient(error)
            return outcome_of(self.hand, error, None, by_handler=by_handler), False
        # Nobody knows whether the commit was carried out. The message is archived, or will lapse.
        logger.warning(
            "The commit of message %s has an unknown outcome: %s", self.hand.claimed.id, in_short(error)
        )
        return Outcome(name="unknown", exception=error), True

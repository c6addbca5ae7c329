"""One turn of the worker loop: settle what has finished, claim what fits, in one transaction.

When a round is made, and what happens when it cannot be, is in loop.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import NamedTuple
from uuid import UUID

from .. import registry
from ..engines import Claim, Claimed, ClaimRequest, Engine, Lane, Refused, Settlement, in_short
from ..messages import settlements
from .events import Events
from .inflight import UNWRITTEN, InFlight, InFlightTable
from .lanes import Lanes
from .options import Options

logger = logging.getLogger("django_letsgo_worker.worker")

# A broken connection may be the fault of what was sent: an outcome that has met so many, with a good
# connection after each, is written without what is long in it.
DOUBTS = 3
# The pause before an outcome that was refused is tried again, in seconds; it doubles.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
# A lane that the database lets nobody claim from is reported once in this time, in seconds.
REPEAT_AFTER = 60.0


class TimedClaim(NamedTuple):
    """A claim of a round, and how long it took."""

    request: ClaimRequest
    claim: Claim
    seconds: float


Claims = list[TimedClaim]


class Found(NamedTuple):
    """What a round found: whether it claimed anything, and whether there is more to claim at once."""

    claimed: bool
    more: bool


class Round:
    """What the rounds of one worker share; run() is one of them."""

    def __init__(
        self,
        engine: Engine,
        options: Options,
        process: UUID,
        inflight: InFlightTable,
        lanes: Lanes,
        events: Events,
    ) -> None:
        self.engine = engine
        self.options = options
        self.process = process
        self.inflight = inflight
        self.lanes = lanes
        self.events = events
        # Whether this worker has said that it waits, and must take that back when it has its hands full.
        self.said_waiting = False
        # Whether the latest claims left messages that may run in a free seat only, and found none.
        self.lacks_seats = False
        # Set for the last rounds: what is not written now is lost.
        self.is_last = False
        self._keep = frozenset[str]()
        self._reported: dict[tuple[str, int], float] = {}
        # Called with what was claimed, as soon as it is ours: whatever fails later, it is in hand.
        self.on_claimed: Callable[[Sequence[Claimed]], None] = lambda claimed: None

    def run(self, finished: Sequence[InFlight], lanes: Sequence[Lane], free: int, prefetch: int) -> Found:
        """Settle and claim; what was claimed only to be refused counts as well."""
        self._keep = settlements.kept_outcomes()
        *early, last = list(self.engine.in_groups(finished, self._length)) or [finished]
        settled: dict[int, str] = {}
        for group in early:
            written, _ = self._tried(group, (), 0, 0)
            self._end(group, written)
            settled |= written
        written, claims = self._tried(last, lanes, free, prefetch)
        self._announce_written(last, written)
        if claims:
            self._take_in([message for timed in claims for message in timed.claim.rows])
        self._settle_accounts(last, written)
        for timed in claims:
            self._look_further(timed)
        if any(registry.find(type) for timed in claims for type in timed.claim.unknown):
            # A receiver that heard of an unknown type has imported what registers it.
            self.lanes.learned()
        elif _makes_work(finished, settled | written):
            # A claim in the same statement could not see it.
            self.lanes.forget()
        if claims:
            self.lacks_seats = any(_lacks_seats(request, claim) for request, claim, _ in claims)
        self._say_that_hands_are_full(claims, free + prefetch)
        claimed = any(timed.claim.rows for timed in claims)
        return Found(claimed, more=claimed or any(not timed.claim.saw_all for timed in claims))

    def _tried(
        self, entries: Sequence[InFlight], lanes: Sequence[Lane], free: int, prefetch: int
    ) -> tuple[dict[int, str], Claims]:
        """Settle and claim; what a good connection refuses as a whole, one by one."""
        settlements = [self._settlement(entry) for entry in entries if not entry.settled]
        one_transaction = partial(self._one_transaction, settlements, lanes, free, prefetch)
        try:
            return self.engine.insist(one_transaction, partial(_doubt, entries))
        except Refused as refused:
            if not settlements:
                return {}, self._claim_apart(lanes, free, prefetch, refused)
            if not all(entry.is_reported for entry in entries):
                why = in_short(refused)
                logger.warning("A round is refused, its messages are settled one by one: %s", why)
        return self._settle_singly(entries), []

    def _one_transaction(
        self, settlements: Sequence[Settlement], lanes: Sequence[Lane], free: int, prefetch: int
    ) -> tuple[dict[int, str], Claims]:
        """One transaction: where one statement does it all, that statement."""
        alone = (
            self.engine.settles_and_claims_at_once
            and len(lanes) <= 1
            and not any(s.has_more for s in settlements)
        )
        asked_at = time.monotonic()
        with nullcontext() if alone else self.engine.transaction():
            if not alone:
                self.engine.begin_round()
                self._renew_if_it_waited(time.monotonic() - asked_at)
            if not settlements:
                return {}, self._claim(lanes, free, prefetch)
            if not lanes:
                return self._settle(settlements), []
            request = self._request(lanes[0], free, prefetch)
            written, claim = self.engine.settle_and_claim(self.process, settlements, self._keep, request)
            first = TimedClaim(request, claim, time.monotonic() - asked_at)
            return written, [first, *self._claim(lanes[1:], *_left(free, prefetch, claim))]

    # -- settle -------------------------------------------------------------------------------------

    def _settlement(self, entry: InFlight) -> Settlement:
        if entry.refusal is not None:
            return entry.refusal
        if entry.outcome is None:
            # Never begun, or interrupted: as if it had not been claimed.
            entry.settlement = settlements.release_of(
                entry.claimed, deaths=0 if entry.interrupted else entry.claimed.deaths
            )
        elif entry.settlement is None:
            ago = time.monotonic() - entry.ended
            entry.settlement = settlements.settlement_of(
                entry.claimed,
                entry.outcome,
                seconds=entry.seconds,
                ended_seconds_ago=ago,
                process=self.options.name,
                on_dead=entry.handler.on_dead,
            )
        return entry.settlement

    def _settle(self, settlements: Sequence[Settlement]) -> dict[int, str]:
        return self.engine.settle(self.process, settlements, keep=self._keep) if settlements else {}

    def _length(self, entry: InFlight) -> int:
        return 0 if entry.settled else self._settlement(entry).length

    def _settle_singly(self, entries: Sequence[InFlight]) -> dict[int, str]:
        """Settle each in a transaction of its own, so that one hostile outcome holds up no other."""
        written: dict[int, str] = {}
        for entry in entries:
            if not entry.settled:
                try:
                    written |= self._settle_alone(entry)
                except Refused as refused:
                    self._set_aside(entry, refused)
        return written

    def _settle_alone(self, entry: InFlight) -> dict[int, str]:
        """Write one outcome, without its result and its errors if the database refuses it with them."""
        settlement = self._settlement(entry)
        try:
            return self._insist_on(settlement, entry)
        except Refused as refused:
            entry.refusals += 1
            in_doubt = self.engine.is_outage(refused.__cause__) if refused.__cause__ else False
            if not settlement.length or (in_doubt and entry.refusals < DOUBTS and not self.is_last):
                raise
            written = self._insist_on(replace(settlement, result=None, errors=None), entry)
            logger.error(
                "The database refused the outcome of message %s (%s), which is kept without %s: %s",
                *_named(entry),
                "its result" if settlement.errors is None else "what this attempt adds to its errors",
                in_short(refused),
            )
            return written

    def _insist_on(self, settlement: Settlement, entry: InFlight) -> dict[int, str]:
        def settle() -> dict[int, str]:
            with self.engine.transaction():
                return self._settle([settlement])

        return self.engine.insist(settle, partial(_doubt, [entry]))

    def _set_aside(self, entry: InFlight, refused: Refused) -> None:
        """Keep what cannot be written at all, lease and all, and try it again later; said once."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(entry.refusals - 1, 10))
        self.inflight.set_aside(entry, pause)
        if not entry.is_reported:
            entry.is_reported = True
            logger.error(
                "The database refuses the outcome of message %s (%s). This worker keeps it, and tries again "
                "from time to time: %s",
                *_named(entry),
                in_short(refused),
            )

    def _end(self, entries: Sequence[InFlight], written: dict[int, str]) -> None:
        self._announce_written(entries, written)
        self._settle_accounts(entries, written)

    def _announce_written(self, finished: Sequence[InFlight], written: dict[int, str]) -> None:
        """Let go of what is settled, and say so before the next attempt of the same message can begin."""
        done = [entry for entry in finished if entry.settled or entry.claimed.id in written]
        self.inflight.drop(done)
        for entry in done:
            if entry.is_reported:
                logger.warning("The outcome of message %s (%s) is written after all.", *_named(entry))
            self.events.settled(entry, written.get(entry.claimed.id))

    def _settle_accounts(self, finished: Sequence[InFlight], written: dict[int, str]) -> None:
        """Find out about what was not written: it is ours no more, or somebody has the row locked."""
        missing = [
            entry
            for entry in finished
            if not (entry.settled or entry.state == UNWRITTEN or entry.claimed.id in written)
        ]
        if not missing:
            return
        locked = self.engine.still_held(self.process, [entry.lease for entry in missing])
        self.inflight.put_back([entry for entry in missing if entry.claimed.id in locked])
        gone = [entry for entry in missing if entry.claimed.id not in locked]
        self.inflight.drop(gone)
        for entry in gone:
            self.events.settled(entry, None)

    # -- claim --------------------------------------------------------------------------------------

    def _renew_if_it_waited(self, seconds: float) -> None:
        """Where writers queue for one lock, our own leases may have lapsed while we stood in line."""
        leases = [entry.lease for entry in self.inflight.leases()]
        if leases and seconds > self.options.lease_seconds / 10:
            self.engine.renew(self.process, leases, self.options.lease_seconds)

    def _claim(self, lanes: Sequence[Lane], free: int, prefetch: int) -> Claims:
        claims: Claims = []
        for lane in lanes:
            if free + prefetch <= 0:
                break
            asked_at = time.monotonic()
            request = self._request(lane, free, prefetch)
            claim = self.engine.claim_within(request, request.limit)
            claims.append(TimedClaim(request, claim, time.monotonic() - asked_at))
            free, prefetch = _left(free, prefetch, claim)
        return claims

    def _claim_apart(self, lanes: Sequence[Lane], free: int, prefetch: int, refused: Refused) -> Claims:
        """Claim one message of each lane where the database refuses what was asked for.

        A lane that it lets nobody claim from is left alone for a moment. Raises its error when all are.
        """
        claims: Claims = []
        for lane in lanes:
            if free + prefetch <= 0:
                break
            one = (1, 0) if free else (0, 1)
            try:
                claims += self.engine.insist(partial(self._one_transaction, (), [lane], *one))[1]
            except Refused as again:
                refused = again
                self.lanes.drained(lane, Claim())
                self._report(lane, refused)
            else:
                free, prefetch = _left(free, prefetch, claims[-1].claim)
        if not claims and refused.__cause__ is not None:
            raise refused.__cause__
        return claims

    def _report(self, lane: Lane, refused: Refused) -> None:
        key, now = (lane.queue, lane.priority), time.monotonic()
        if now - self._reported.get(key, float("-inf")) >= REPEAT_AFTER:
            self._reported[key] = now
            logger.error(
                "The database lets nobody claim the first message of the queue %s (priority %s): %s",
                *key,
                in_short(refused),
            )

    def _request(self, lane: Lane, free: int, prefetch: int) -> ClaimRequest:
        return ClaimRequest(
            lane=lane,
            types=registry.types(),
            process=self.process,
            lease_seconds=self.options.lease_seconds,
            free=free,
            prefetch=prefetch,
            start_at=self.lanes.watermarks.of(lane),
        )

    def _take_in(self, claimed: Sequence[Claimed]) -> None:
        """Give away what was claimed, and write which attempts had ended with their workers."""
        lost = settlements.note_lost_attempts(claimed, self.options.using)
        self.on_claimed(claimed)
        try:
            self.engine.insist(partial(self.engine.write_errors, self.process, lost))
        except Refused as refused:
            # They are written with what becomes of this attempt.
            logger.warning(
                "Attempts that ended with their workers are not recorded yet: %s", in_short(refused)
            )

    def _look_further(self, timed: TimedClaim) -> None:
        """Claim past unknown types at the head of a lane, and learn where the next claim may begin."""
        request, claim, seconds = timed
        if claim.unknown:
            asked_at = time.monotonic()
            with nullcontext() if self.engine.settles_and_claims_at_once else self.engine.transaction():
                further = self.engine.claim_further(request, claim)
            if further is not None:
                self._take_in(further.rows)
                claim.go_on(further)
            seconds += time.monotonic() - asked_at
            self.events.unknown(request.lane.queue, claim.unknown)
        self.lanes.watermarks.note(request, claim, seconds=seconds)
        if claim.saw_all and not claim.left:
            self.lanes.drained(request.lane, claim)

    def _say_that_hands_are_full(self, claims: Claims, wanted: int) -> None:
        taken = [message for timed in claims for message in timed.claim.rows] if self.said_waiting else []
        if taken and len(taken) >= wanted:
            self.engine.set_waiting({message.queue for message in taken}, False)
            self.said_waiting = False


def _named(entry: InFlight) -> tuple[int, str]:
    return entry.claimed.id, entry.claimed.type


def _doubt(entries: Sequence[InFlight]) -> None:
    """Note that a try to settle these broke off, and may have been carried out."""
    for entry in entries:
        entry.uncertain = True


def _left(free: int, prefetch: int, claim: Claim) -> tuple[int, int]:
    """Return how many may still be claimed after a claim; nothing beside a suspect."""
    if any(message.is_poison_suspect for message in claim.rows):
        return 0, 0
    used = min(free, len(claim.rows))
    return free - used, prefetch - (len(claim.rows) - used)


def _lacks_seats(request: ClaimRequest, claim: Claim) -> bool:
    """Whether a claim left messages that it could have taken into free seats."""
    return claim.left and len(claim.rows) < request.limit


def _makes_work(finished: Sequence[InFlight], written: dict[int, str]) -> bool:
    """Whether there is new work, be it that a handler's own transaction has written it."""
    return not {"again", "released"}.isdisjoint(written.values()) or any(
        (entry.settled and entry.outcome is not None and entry.outcome.settled_as == "again")
        or _is_followed(entry, written)
        for entry in finished
    )


def _is_followed(entry: InFlight, written: dict[int, str]) -> bool:
    """Whether a message was enqueued that follows this one's death."""
    settlement = entry.refusal or entry.settlement
    if settlement is None or not settlement.on_dead:
        return False
    return entry.settled or written.get(entry.claimed.id) == "dead"

"""Batches: settle what has finished and claim what fits, in one transaction.

loop.py decides when to make a batch; refusals.py deals with one that the database refuses as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from .. import registry
from ..delivery import Control
from ..engines import Claim, Claimed, ClaimRequest, Engine, Lane, Refused, Settlement, engine_for
from ..messages import settlements
from ..registry import Handler
from .events import Events
from .executor import settlement_of
from .inflight import UNWRITTEN, InFlight, InFlightTable
from .isolation import on_a_thread_with_connections
from .lanes import TimedClaim
from .options import Options
from .prefetch import Wanted
from .refusals import Refusals, doubt

Claims = list[TimedClaim]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The work that a batch did, and what it saw of the work left."""

    claims: Sequence[TimedClaim] = ()
    # How many messages were claimed, those included that must not run.
    claimed: int = 0
    # Whether there may be more to claim at once.
    more: bool = False
    # Whether a claim left messages that it could have taken into free seats.
    lacks_seats: bool = False
    # Whether there was anything to settle.
    settled: bool = False
    # Whether it made work that no claim of the same batch could see.
    made_work: bool = False


NOTHING = BatchResult()


class Batch:
    """Settles and claims for one worker process, with the engine of the thread that calls it."""

    def __init__(
        self, engine: Engine, options: Options, process: UUID, inflight: InFlightTable, events: Events
    ) -> None:
        self.engine = engine
        self.options = options
        self.process = process
        self.inflight = inflight
        self.events = events
        self.refusals = Refusals(engine, options, process, inflight)

    def settle_and_claim(
        self, finished: Sequence[InFlight], wanted: Wanted, lanes: Sequence[Lane], *, is_last: bool = False
    ) -> BatchResult:
        """Write the outcomes of `finished`, and claim as much of what is `wanted` as the lanes have.

        Claimed messages are in flight before anything can fail. After an error, those that could not be
        settled are among the finished again. `is_last` says that outcomes not written now are lost.
        """
        if not finished and not lanes:
            return NOTHING
        try:
            return self._settle_and_claim(finished, wanted, lanes, is_last)
        except BaseException:
            doubt(finished)
            self.inflight.put_back(finished)
            raise

    def _settle_and_claim(
        self, finished: Sequence[InFlight], wanted: Wanted, lanes: Sequence[Lane], is_last: bool
    ) -> BatchResult:
        for entry in finished:
            if not entry.settled:
                entry.settlement = settlement_of(entry, self.options.name)
        *early, last = list(self.engine.in_groups(finished, _length)) or [finished]
        written: dict[int, str] = {}
        for group in early:
            written |= self._attempt(group, Wanted(0, 0), (), is_last)[0]
            self._let_go(group, written)
            self._find_missing(group, written)
        of_last, claims = self._attempt(last, wanted, lanes, is_last)
        written |= of_last
        # Said before the next attempt of the same message can begin.
        self._let_go(last, written)
        self._take_in([message for timed in claims for message in timed.claim.rows])
        self._find_missing(last, written)
        claims += self._claim_rest(wanted, lanes, claims)
        claims = [self._look_further(timed) for timed in claims]
        claimed = sum(len(claim.rows) for _, claim, _ in claims)
        return BatchResult(
            claims=claims,
            claimed=claimed,
            more=bool(claimed) or any(not claim.saw_all for _, claim, _ in claims),
            lacks_seats=any(claim.left and len(claim.rows) < request.limit for request, claim, _ in claims),
            settled=bool(finished),
            made_work=_made_work(finished, written),
        )

    def _attempt(
        self, entries: Sequence[InFlight], wanted: Wanted, lanes: Sequence[Lane], is_last: bool
    ) -> tuple[dict[int, str], Claims]:
        """Settle and claim; one by one, where a good connection refuses the whole."""
        outcomes = [entry.settlement for entry in entries if entry.settlement and not entry.settled]
        try:
            return self.engine.insist(
                partial(self._in_one_transaction, outcomes, wanted, lanes), partial(doubt, entries)
            )
        except Refused as refused:
            if outcomes:
                return self.refusals.settle_singly(entries, refused, is_last=is_last), []
            return {}, self._claim_singly(wanted, lanes, refused)

    def _in_one_transaction(
        self, outcomes: Sequence[Settlement], wanted: Wanted, lanes: Sequence[Lane]
    ) -> tuple[dict[int, str], Claims]:
        """Settle and claim; where one statement does it all, that statement is the transaction."""
        if not outcomes and not lanes:
            return {}, []
        alone = self.engine.settles_and_claims_at_once and not any(s.has_more for s in outcomes)
        asked_at = time.monotonic()
        with nullcontext() if alone else self.engine.transaction():
            if not alone:
                self.engine.begin_round()
                self._renew_if_it_waited(time.monotonic() - asked_at)
            keep = settlements.kept_outcomes()
            if not lanes:
                return self.engine.settle(self.process, outcomes, keep=keep), []
            request = self._request(wanted, lanes)
            written: dict[int, str] = {}
            if outcomes:
                written, claim = self.engine.settle_and_claim(self.process, outcomes, keep, request)
            else:
                claim = self.engine.claim_within(request, request.limit)
            return written, self._timed(claim, wanted, lanes, time.monotonic() - asked_at)

    def _renew_if_it_waited(self, seconds: float) -> None:
        """Renew our own leases after a long wait: where writers queue for one lock, they may have lapsed."""
        if seconds <= self.options.lease_seconds / 10:
            return
        leases = [entry.lease for entry in self.inflight.leases()]
        if leases:
            self.engine.renew(self.process, leases, self.options.lease_seconds)

    # -- settle -------------------------------------------------------------------------------------

    def _let_go(self, finished: Sequence[InFlight], written: dict[int, str]) -> None:
        """Let go of what is settled, and say so."""
        done = [entry for entry in finished if entry.settled or entry.claimed.id in written]
        self.inflight.drop(done)
        for entry in done:
            self.refusals.say_if_written_after_all(entry)
            self.events.settled(entry, written.get(entry.claimed.id))

    def _find_missing(self, finished: Sequence[InFlight], written: dict[int, str]) -> None:
        """Find out why some were not written: they are no longer ours, or another session has them locked."""
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

    def _timed(self, claim: Claim, wanted: Wanted, lanes: Sequence[Lane], seconds: float) -> Claims:
        """Return a claim from lanes in turn as one of each that it reached, with what was wanted there."""
        of_lanes: Claims = []
        claims = [claim, *claim.further]
        for lane, one in zip(lanes, claims, strict=False):
            of_lanes.append(TimedClaim(self._request(wanted, [lane]), one, seconds / len(claims)))
            wanted = wanted.after(one)
        return of_lanes

    def _claim_rest(self, wanted: Wanted, lanes: Sequence[Lane], claims: Sequence[TimedClaim]) -> Claims:
        """Claim from lanes that were not reached, because of what may not be taken in those before them."""
        rest: Claims = []
        while claims:
            lanes = lanes[len(claims) :]
            for timed in claims:
                wanted = wanted.after(timed.claim)
            if not lanes or not any(wanted):
                break
            claims = self._attempt((), wanted, lanes, False)[1]
            self._take_in([message for timed in claims for message in timed.claim.rows])
            rest += claims
        return rest

    def _claim_singly(self, wanted: Wanted, lanes: Sequence[Lane], refused: Refused) -> Claims:
        """Claim one message of each lane, since the database refused the whole claim.

        A lane that it refuses even then counts as empty for a moment. Raises its error when all are refused.
        """
        claims: Claims = []
        is_served = False
        for lane in lanes:
            if not any(wanted):
                break
            one = Wanted(1, 0) if wanted.free else Wanted(0, 1)
            try:
                claims += self.engine.insist(partial(self._in_one_transaction, (), one, [lane]))[1]
            except Refused as again:
                refused = again
                self.refusals.say_lane(lane, refused)
                claims.append(TimedClaim(self._request(one, [lane]), Claim(), 0.0))
            else:
                is_served = True
                wanted = wanted.after(claims[-1].claim)
        if not is_served and refused.__cause__ is not None:
            raise refused.__cause__
        return claims

    def _request(self, wanted: Wanted, lanes: Sequence[Lane]) -> ClaimRequest:
        lane, *further = lanes
        return ClaimRequest(
            lane=lane,
            further=further,
            types=registry.types(),
            process=self.process,
            lease_seconds=self.options.lease_seconds,
            free=wanted.free,
            prefetch=wanted.prefetch,
            start_at=lane.next_visible_at,
        )

    def _look_further(self, timed: TimedClaim) -> TimedClaim:
        """Claim past unknown types at the head of a lane."""
        request, claim, seconds = timed
        if not claim.unknown:
            return timed
        asked_at = time.monotonic()
        with nullcontext() if self.engine.settles_and_claims_at_once else self.engine.transaction():
            further = self.engine.claim_further(request, claim)
        if further is not None:
            self._take_in(further.rows)
            claim.go_on(further)
        self.events.unknown(request.lane.queue, claim.unknown)
        return TimedClaim(request, claim, seconds + time.monotonic() - asked_at)

    # -- take in ------------------------------------------------------------------------------------

    def _take_in(self, claimed: Sequence[Claimed]) -> None:
        """Put the claimed messages in flight, and record their attempts that ended with their workers."""
        if not claimed:
            return
        lost = settlements.note_lost_attempts(claimed, self.options.using)
        self.events.claimed(claimed)
        plain = {type: _plain_handler(type) for type in {message.type for message in claimed}}
        self.inflight.add([self._entry(message, plain[message.type]) for message in claimed])
        if not lost:
            return
        try:
            self.engine.insist(partial(self.engine.write_errors, self.process, lost))
        except Refused as refused:
            # They are written with the outcome of this attempt.
            self.refusals.say_lost_attempts(refused)

    def _entry(self, claimed: Claimed, handler: Handler | None) -> InFlight:
        if handler is None:
            handler = registry.choose(claimed.type, settlements.payload_of(claimed))
        refusal = settlements.refusal_of(claimed, self.options.name, handler)
        return InFlight(
            claimed, handler, Control(self._extend), refusal=refusal, is_suspect=claimed.is_poison_suspect
        )

    def _extend(self, lease: tuple[int, int], seconds: float) -> bool:
        def extend(seconds: float) -> bool:
            return bool(engine_for(self.options.using).renew(self.process, [lease], seconds))

        # On the handler's thread, and so on its connection; an event loop's has none.
        return on_a_thread_with_connections(extend, seconds)


def _plain_handler(type: str) -> Handler | None:
    """Return the handler of all messages of a type; None where it depends on the payload."""
    return None if registry.is_narrowed(type) else registry.choose(type, None)


def _length(entry: InFlight) -> int:
    return 0 if entry.settled or entry.settlement is None else entry.settlement.length


def _made_work(finished: Sequence[InFlight], written: dict[int, str]) -> bool:
    """Whether there is new work, even if it was written by a handler's own transaction."""
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

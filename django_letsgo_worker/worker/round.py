"""One round of the exchange: settle what has finished, claim what fits, in one transaction.

When a round is made, and what happens when it cannot be, is in exchange.py.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from uuid import UUID

from django.db import Error

from .. import registry
from ..engines import Claim, Claimed, ClaimRequest, Engine, Lane, Settlement
from ..messages import working
from .announce import Announcer
from .hands import Hand, Hands
from .lanes import Lanes
from .options import Options

logger = logging.getLogger("django_letsgo_worker.worker")

# How often a round is tried again at once after a deadlock or a busy database.
TRIES = 5

Claims = list[tuple[ClaimRequest, Claim]]


class Round:
    """What the rounds of one worker share; run() is one of them."""

    def __init__(self, engine: Engine, options: Options, process: UUID, hands: Hands, lanes: Lanes) -> None:
        self.engine = engine
        self.options = options
        self.process = process
        self.hands = hands
        self.lanes = lanes
        self.announcer = Announcer()
        # Whether this worker has said that it waits, and must take that back when it has its hands full.
        self.said_waiting = False
        self._keep = frozenset[str]()
        # Called with what was claimed, as soon as it is ours: whatever fails later, it is in hand.
        self.on_claimed: Callable[[Sequence[Claimed]], None] = lambda claimed: None

    def run(self, finished: Sequence[Hand], lanes: Sequence[Lane], free: int, ahead: int) -> bool:
        """Settle and claim; return whether anything was claimed, be it only to be refused."""
        self._keep = working.kept_outcomes()
        settlements = [self._settlement(hand) for hand in finished if not hand.settled]
        written, claims = self._tried(settlements, lanes, free, ahead)
        self._announce_written(finished, written)
        for _, claim in claims:
            self.on_claimed(claim.rows)
        self._settle_accounts(finished, written)
        # What this very statement put back, or had follow a death, its claim could not see.
        put_back = not {"again", "released"}.isdisjoint(written.values())
        put_back |= any(s.on_dead and written.get(s.id) == "dead" for s in settlements)
        for request, claim in claims:
            self._look_further(request, claim, put_back)
        # Whoever hears of an unknown type may import what registers it.
        learned = any(registry.find(type) for _, claim in claims for type in claim.unknown)
        if learned:
            self.lanes.learned()
        elif put_back:
            self.lanes.put_back()
        self._say_that_hands_are_full(claims, free + ahead)
        return learned or any(claim.rows for _, claim in claims)

    def _tried(
        self, settlements: Sequence[Settlement], lanes: Sequence[Lane], free: int, ahead: int
    ) -> tuple[dict[int, str], Claims]:
        """Settle and claim, again after a deadlock, and one by one what a database refuses."""
        for tried in range(1, TRIES + 1):
            try:
                return self._exchange(settlements, lanes, free, ahead)
            except Error as error:
                if self.engine.is_transient(error) and tried < TRIES:
                    time.sleep(random.uniform(0.005, 0.05) * tried)
                elif settlements and not self.engine.is_outage(error) and not self.engine.is_transient(error):
                    logger.exception("A round failed: its messages are settled one by one.")
                    break
                else:
                    raise
        return self._settle_singly(settlements), []

    def _exchange(
        self, settlements: Sequence[Settlement], lanes: Sequence[Lane], free: int, ahead: int
    ) -> tuple[dict[int, str], Claims]:
        """One transaction: where one statement does it all, that statement."""
        alone = self.engine.exchanges_alone and len(lanes) <= 1 and not any(s.has_more for s in settlements)
        asked_at = time.monotonic()
        with nullcontext() if alone else self.engine.transaction():
            if not alone:
                self.engine.begin_round()
                self._renew_if_it_waited(time.monotonic() - asked_at)
            if not settlements:
                return {}, self._claim(lanes, free, ahead)
            if not lanes:
                return self._settle(settlements), []
            request = self._request(lanes[0], free, ahead)
            written, claim = self.engine.exchange(self.process, settlements, self._keep, request)
            first = self._note(request, claim, asked_at)
            return written, first + self._claim(lanes[1:], *_left(free, ahead, claim))

    # -- settle -------------------------------------------------------------------------------------

    def _settlement(self, hand: Hand) -> Settlement:
        if hand.refused is not None:
            return hand.refused
        if hand.outcome is None:
            # Never begun, or interrupted: as if it had not been claimed.
            hand.settlement = working.release_of(
                hand.claimed, deaths=0 if hand.interrupted else hand.claimed.deaths
            )
        elif hand.settlement is None:
            ago = time.monotonic() - hand.ended
            hand.settlement = working.settlement_of(
                hand.claimed,
                hand.outcome,
                seconds=hand.seconds,
                ended_seconds_ago=ago,
                process=self.options.name,
                on_dead=hand.handler.on_dead,
            )
        return hand.settlement

    def _settle(self, settlements: Sequence[Settlement]) -> dict[int, str]:
        return self.engine.settle(self.process, settlements, keep=self._keep) if settlements else {}

    def _settle_singly(self, settlements: Sequence[Settlement]) -> dict[int, str]:
        """Settle each in a transaction of its own, so that one hostile outcome holds up no other."""
        written: dict[int, str] = {}
        for settlement in settlements:
            # The second form is without what a database may refuse.
            for form in (settlement, replace(settlement, result=None, errors=None)):
                try:
                    with self.engine.transaction():
                        written |= self._settle([form])
                    break
                except Error as error:
                    if self.engine.is_outage(error) or self.engine.is_transient(error):
                        raise
                    logger.exception("The database refused the outcome of message %s.", settlement.id)
        return written

    def _announce_written(self, finished: Sequence[Hand], written: dict[int, str]) -> None:
        """Let go of what is settled, and say so before the next attempt of the same message can begin."""
        done = [hand for hand in finished if hand.settled or hand.claimed.id in written]
        self.hands.drop(done)
        for hand in done:
            self.announcer.settled(hand, written.get(hand.claimed.id))

    def _settle_accounts(self, finished: Sequence[Hand], written: dict[int, str]) -> None:
        """Find out about what was not written: it is ours no more, or somebody has the row locked."""
        missing = [hand for hand in finished if not hand.settled and hand.claimed.id not in written]
        if not missing:
            return
        locked = self.engine.still_held(self.process, [hand.lease for hand in missing])
        self.hands.put_back([hand for hand in missing if hand.claimed.id in locked])
        gone = [hand for hand in missing if hand.claimed.id not in locked]
        self.hands.drop(gone)
        for hand in gone:
            self.announcer.settled(hand, None)

    # -- claim --------------------------------------------------------------------------------------

    def _renew_if_it_waited(self, seconds: float) -> None:
        """Where writers queue for one lock, our own leases may have lapsed while we stood in line."""
        leases = [hand.lease for hand in self.hands.leases()]
        if leases and seconds > self.options.lease_seconds / 10:
            self.engine.renew(self.process, leases, self.options.lease_seconds)

    def _claim(self, lanes: Sequence[Lane], free: int, ahead: int) -> Claims:
        claims: Claims = []
        for lane in lanes:
            if free + ahead <= 0:
                break
            asked_at = time.monotonic()
            request = self._request(lane, free, ahead)
            claim = self.engine.claim_within(request, request.limit)
            claims += self._note(request, claim, asked_at)
            free, ahead = _left(free, ahead, claim)
        return claims

    def _note(self, request: ClaimRequest, claim: Claim, asked_at: float) -> Claims:
        self.lanes.marks.note(request, claim, seconds=time.monotonic() - asked_at)
        return [(request, claim)]

    def _request(self, lane: Lane, free: int, ahead: int) -> ClaimRequest:
        past_unknown, mark = self.lanes.start_at(lane), self.lanes.marks.of(lane)
        return ClaimRequest(
            lane=lane,
            types=registry.types(),
            process=self.process,
            lease_seconds=self.options.lease_seconds,
            free=free,
            ahead=ahead,
            start_at=max(past_unknown, mark) if past_unknown and mark else past_unknown or mark,
        )

    def _look_further(self, request: ClaimRequest, claim: Claim, put_back: bool) -> None:
        """Claim past unknown types at the head of a lane, and learn where the next claim may begin."""
        looked, until, rows = claim.looked, None, len(claim.rows)
        further = None
        if claim.unknown:
            with nullcontext() if self.engine.exchanges_alone else self.engine.transaction():
                further = self.engine.claim_further(request, claim)
        if further is not None:
            self.on_claimed(further.rows)
            claim.unknown |= further.unknown
            looked, until, rows = further.looked, further.looked_until, rows + len(further.rows)
        self.announcer.unknown(request.lane.queue, claim.unknown)
        if until is not None:
            self.lanes.remember_past(request.lane, until)
        elif rows < request.limit and looked < request.limit:
            self.lanes.drained(request.lane, in_vain=not rows and not put_back)

    def _say_that_hands_are_full(self, claims: Claims, wanted: int) -> None:
        taken = [message for _, claim in claims for message in claim.rows] if self.said_waiting else []
        if taken and len(taken) >= wanted:
            self.engine.set_waiting({message.queue for message in taken}, False)
            self.said_waiting = False


def _left(free: int, ahead: int, claim: Claim) -> tuple[int, int]:
    """Return how many may still be claimed after a claim; nothing beside a suspect."""
    if any(message.is_suspect for message in claim.rows):
        return 0, 0
    used = min(free, len(claim.rows))
    return free - used, ahead - (len(claim.rows) - used)

"""One round of the exchange: settle what has finished, claim what fits, in one transaction.

When a round is made, and what happens when it cannot be, is in exchange.py.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
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
        # Called with what is to be run, as soon as it is ours: whatever fails later, it is in hand.
        self.on_claimed: Callable[[Sequence[Claimed]], None] = lambda claimed: None

    def run(self, finished: Sequence[Hand], lanes: Sequence[Lane], free: int, ahead: int) -> bool:
        """Settle and claim; return whether anything was claimed, be it only to be refused."""
        self._keep = working.kept_outcomes()
        settlements = [self._settlement(hand) for hand in finished if not hand.settled]
        for tried in range(1, TRIES + 1):
            try:
                written, claimed, refused = self._transaction(settlements, lanes, free, ahead)
                break
            except Error as error:
                if self.engine.is_transient(error) and tried < TRIES:
                    time.sleep(random.uniform(0.005, 0.05) * tried)
                elif settlements and not self.engine.is_outage(error) and not self.engine.is_transient(error):
                    logger.exception("A round failed: its messages are settled one by one.")
                    written, claimed, refused = self._settle_singly(settlements), [], {}
                    break
                else:
                    raise
        self._announce_written(finished, written)
        self.on_claimed([message for message in claimed if message.id not in refused])
        for message in claimed:
            if message.id in refused:
                self.announcer.refused(message, refused[message.id])
        self._settle_accounts(finished, written)
        return bool(claimed)

    # -- settle -------------------------------------------------------------------------------------

    def _settlement(self, hand: Hand) -> Settlement:
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
        if any(outcome in ("again", "released") for outcome in written.values()):
            self.lanes.forget()

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

    def _transaction(
        self, settlements: Sequence[Settlement], lanes: Sequence[Lane], free: int, ahead: int
    ) -> tuple[dict[int, str], list[Claimed], dict[int, Settlement]]:
        asked_at = time.monotonic()
        with self.engine.transaction():
            self.engine.begin_round()
            self._renew_if_it_waited(time.monotonic() - asked_at)
            written = self._settle(settlements)
            claimed = self._claim(lanes, free, ahead)
            refused = self._refuse(claimed)
        return written, claimed, refused

    def _renew_if_it_waited(self, seconds: float) -> None:
        """Where writers queue for one lock, our own leases may have lapsed while we stood in line."""
        leases = [hand.lease for hand in self.hands.leases()]
        if leases and seconds > self.options.lease_seconds / 10:
            self.engine.renew(self.process, leases, self.options.lease_seconds)

    def _claim(self, lanes: Sequence[Lane], free: int, ahead: int) -> list[Claimed]:
        claimed: list[Claimed] = []
        for lane in lanes:
            if free + ahead <= 0 or any(message.is_suspect for message in claimed):
                break
            request = self._request(lane, free, ahead)
            claim = self.engine.claim(request)
            self._learn(request, claim)
            claimed += claim.rows
            used = min(free, len(claim.rows))
            free, ahead = free - used, ahead - (len(claim.rows) - used)
        if self.said_waiting and claimed and free + ahead <= 0:
            self.engine.set_waiting({message.queue for message in claimed}, False)
            self.said_waiting = False
        return claimed

    def _request(self, lane: Lane, free: int, ahead: int) -> ClaimRequest:
        return ClaimRequest(
            lane=lane,
            types=registry.types(),
            process=self.process,
            lease_seconds=self.options.lease_seconds,
            free=free,
            ahead=ahead,
            start_at=self.lanes.start_at(lane),
        )

    def _learn(self, request: ClaimRequest, claim: Claim) -> None:
        self.announcer.unknown(request.lane.queue, claim.unknown)
        if claim.looked_until is not None:
            self.lanes.remember_past(request.lane, claim.looked_until)
        elif len(claim.rows) < request.limit and claim.looked < request.limit:
            self.lanes.drained(request.lane, in_vain=not claim.rows)

    def _refuse(self, claimed: Sequence[Claimed]) -> dict[int, Settlement]:
        """Settle at once what must not run: worn out, or past its deadline."""
        refused = {}
        for message in claimed:
            settlement = working.unfit_settlement(message, self.options.name)
            if settlement is not None:
                refused[message.id] = settlement
        self._settle(list(refused.values()))
        return refused

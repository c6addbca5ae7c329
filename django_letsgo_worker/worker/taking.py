"""From claimed messages to hands: which handler each has, and how it keeps its lease.

Whether a hand may begin is the exchange's; what it does then, a seat's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from .. import registry
from ..delivery import Signals
from ..engines import Claimed, engine_for
from ..messages import working
from ..registry import Handler
from .hands import Hand, Hands
from .isolation import on_a_thread_with_connections
from .options import Options


class Taker:
    """Takes what one process has claimed."""

    def __init__(self, options: Options, process: UUID, hands: Hands) -> None:
        self.options = options
        self.process = process
        self.hands = hands

    def take(self, claimed: Sequence[Claimed]) -> list[Hand]:
        """Put claimed messages in hand; those that must not run are finished at once."""
        plain = {type: _plain_handler(type) for type in {message.type for message in claimed}}
        hands = [self._hand(message, plain[message.type]) for message in claimed]
        self.hands.add(hands)
        return hands

    def _hand(self, claimed: Claimed, handler: Handler | None) -> Hand:
        signals = Signals(partial(self._extend, (claimed.id, claimed.receipt)))
        if handler is None:
            handler = registry.choose(claimed.type, working.payload_of(claimed))
        hand = Hand(claimed, handler, signals)
        hand.refused = working.unfit_settlement(claimed, self.options.name, handler.on_dead)
        return hand

    def _extend(self, lease: tuple[int, int], seconds: float) -> bool:
        def extend(seconds: float) -> bool:
            return bool(engine_for(self.options.using).renew(self.process, [lease], seconds))

        # On the handler's thread, and so on its connection; an event loop's has none.
        return on_a_thread_with_connections(extend, seconds)


def _plain_handler(type: str) -> Handler | None:
    """Return the handler of all messages of a type; None where it depends on the payload."""
    return None if registry.is_narrowed(type) else registry.choose(type, None)

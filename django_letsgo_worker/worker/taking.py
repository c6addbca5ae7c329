"""From claimed messages to entries in flight: which handler each has, and how it keeps its lease.

Whether an entry may begin is the loop's; what it does then, the pool's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from .. import registry
from ..delivery import Control
from ..engines import Claimed, engine_for
from ..messages import settlements
from ..registry import Handler
from .inflight import InFlight, InFlightTable
from .isolation import on_a_thread_with_connections
from .options import Options


class Taker:
    """Takes what one process has claimed."""

    def __init__(self, options: Options, process: UUID, inflight: InFlightTable) -> None:
        self.options = options
        self.process = process
        self.inflight = inflight

    def take(self, claimed: Sequence[Claimed]) -> list[InFlight]:
        """Put claimed messages in flight; those that must not run are finished at once."""
        plain = {type: _plain_handler(type) for type in {message.type for message in claimed}}
        entries = [self._hand(message, plain[message.type]) for message in claimed]
        self.inflight.add(entries)
        return entries

    def _hand(self, claimed: Claimed, handler: Handler | None) -> InFlight:
        control = Control(partial(self._extend, (claimed.id, claimed.receipt)))
        if handler is None:
            handler = registry.choose(claimed.type, settlements.payload_of(claimed))
        entry = InFlight(claimed, handler, control)
        entry.refusal = settlements.refusal_of(claimed, self.options.name, handler.on_dead)
        return entry

    def _extend(self, lease: tuple[int, int], seconds: float) -> bool:
        def extend(seconds: float) -> bool:
            return bool(engine_for(self.options.using).renew(self.process, [lease], seconds))

        # On the handler's thread, and so on its connection; an event loop's has none.
        return on_a_thread_with_connections(extend, seconds)


def _plain_handler(type: str) -> Handler | None:
    """Return the handler of all messages of a type; None where it depends on the payload."""
    return None if registry.is_narrowed(type) else registry.choose(type, None)

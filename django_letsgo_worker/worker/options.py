"""The options of one worker: its command line on top of the settings."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from ..conf import settings
from ..errors import NotReady


def default_name() -> str:
    """Return host:pid, the name of a process that was given none."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one worker; times in seconds.

    `queues` None means all; `excluded_queues` are left to others, whatever `queues` says. `until_empty`
    ends it when nothing is due and nothing in flight, `max_messages` when it has taken that many.
    """

    using: str = field(default_factory=lambda: settings().database)
    name: str = field(default_factory=default_name)
    queues: tuple[str, ...] | None = field(default_factory=lambda: settings().queues)
    excluded_queues: tuple[str, ...] = ()
    seats: int = field(default_factory=lambda: settings().concurrency)
    lease_seconds: float = field(default_factory=lambda: settings().lease_seconds)
    drain_seconds: float = field(default_factory=lambda: settings().drain_seconds)
    poll_seconds: float | None = field(default_factory=lambda: settings().poll_seconds)
    until_empty: bool = False
    max_messages: int | None = None

    def __post_init__(self) -> None:
        if self.queues and not any(map(self.serves, self.queues)):
            raise NotReady(f"No queue is left to serve: {', '.join(self.queues)} without the excluded ones.")

    def serves(self, queue: str) -> bool:
        """Return whether the worker claims from a queue."""
        return (self.queues is None or queue in self.queues) and queue not in self.excluded_queues

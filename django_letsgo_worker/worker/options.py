"""The options of one worker: its command line on top of the settings."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from ..conf import settings


def default_name() -> str:
    """Return host:pid, the name of a process that was given none."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one worker; times in seconds.

    `queues` None means all; `until_empty` ends it when nothing is due and nothing in flight, `max_messages`
    when it has taken that many.
    """

    using: str = field(default_factory=lambda: settings().database)
    name: str = field(default_factory=default_name)
    queues: tuple[str, ...] | None = field(default_factory=lambda: settings().queues)
    seats: int = field(default_factory=lambda: settings().concurrency)
    lease_seconds: float = field(default_factory=lambda: settings().lease_seconds)
    drain_seconds: float = field(default_factory=lambda: settings().drain_seconds)
    poll_seconds: float | None = field(default_factory=lambda: settings().poll_seconds)
    until_empty: bool = False
    max_messages: int | None = None

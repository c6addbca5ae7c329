"""What an engine tells of its server's upkeep: sessions with old snapshots, and tables full of dead rows.

Plain data; how each engine finds it out is the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A session that holds a snapshot since a moment."""

    pid: int
    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Bloat:
    """A table with far more dead rows than live ones."""

    name: str
    live: int
    dead: int

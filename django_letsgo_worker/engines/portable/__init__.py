"""Claim and settle for the engines that have no RETURNING from several tables at once.

A claim looks, chooses in Python, updates and reads back; what differs is left to the two engines.
"""

from __future__ import annotations

from uuid import UUID

from ..atomic import AtomicScope
from .claiming import Claiming
from .settling import SETTLED

__all__ = ["SETTLED", "PortableEngine"]


class PortableEngine(Claiming):
    def atomic_scope(self, process: UUID, lease: tuple[int, int]) -> AtomicScope:
        return AtomicScope(self, process, lease)

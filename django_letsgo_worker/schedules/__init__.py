"""Verbs on scheduled jobs: the only writer of ScheduledJob and Occurrence.

operations.py is for people, firing.py for schedulers, sync.py brings in what the code declares. planning
decides what a planned time becomes; the scheduler decides when to look.
"""

from ..declarations import Declared
from .backfilling import backfill, planned_between
from .failing import switch_off_failing
from .firing import Look, connect, fire_due, look, looked_for, mend_plans, resume_due
from .operations import DECIDED, add, disable, enable, ensure, find, remove, restore, run_now, update
from .sync import BUILT_IN, declared_in_code, declared_in_settings, is_built_in_used, sync_declared

__all__ = [
    "BUILT_IN",
    "DECIDED",
    "Declared",
    "Look",
    "add",
    "backfill",
    "connect",
    "declared_in_code",
    "declared_in_settings",
    "disable",
    "enable",
    "ensure",
    "find",
    "fire_due",
    "is_built_in_used",
    "look",
    "looked_for",
    "mend_plans",
    "planned_between",
    "remove",
    "restore",
    "resume_due",
    "run_now",
    "switch_off_failing",
    "sync_declared",
    "update",
]

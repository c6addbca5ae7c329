"""Verbs on scheduled jobs: the only writer of ScheduledJob and Occurrence.

operations.py is for people, firing.py for schedulers, sync.py brings in what the code declares. planning
decides what a planned time becomes; the scheduler decides when to look.
"""

from ..declarations import Declared
from .failing import switch_off_failing
from .firing import Look, fire_due, look, mend_plans, resume_due
from .operations import DECIDED, add, disable, enable, ensure, find, remove, restore, run_now, update
from .sync import BUILT_IN, declared_in_code, declared_in_settings, is_built_in_used, sync_declared

__all__ = [
    "BUILT_IN",
    "DECIDED",
    "Declared",
    "Look",
    "add",
    "declared_in_code",
    "declared_in_settings",
    "disable",
    "enable",
    "ensure",
    "find",
    "fire_due",
    "is_built_in_used",
    "look",
    "mend_plans",
    "remove",
    "restore",
    "resume_due",
    "run_now",
    "switch_off_failing",
    "sync_declared",
    "update",
]

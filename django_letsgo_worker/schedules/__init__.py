"""Verbs on scheduled jobs: the only writer of ScheduledJob, Occurrence and SchedulesPause.

operations.py and pausing.py are for people, firing.py for schedulers, sync.py brings in what the code
declares. planning decides what a planned time becomes; the scheduler decides when to look.
"""

from ..declarations import Declared
from .backfilling import backfill, planned_between
from .failing import died_lately, switch_off_failing
from .firing import Look, connect, fire_due, look, looked_for, mend_plans, resume_due
from .operations import DECIDED, add, disable, enable, ensure, find, remove, restore, run_now, update
from .pausing import forget_pauses, newest_pause, pause_all, present_pause, resume_all
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
    "died_lately",
    "disable",
    "enable",
    "ensure",
    "find",
    "fire_due",
    "forget_pauses",
    "is_built_in_used",
    "look",
    "looked_for",
    "mend_plans",
    "newest_pause",
    "pause_all",
    "planned_between",
    "present_pause",
    "remove",
    "restore",
    "resume_all",
    "resume_due",
    "run_now",
    "switch_off_failing",
    "sync_declared",
    "update",
]

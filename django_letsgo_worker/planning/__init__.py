"""Schedules as values: what one may be, when it runs next, and what becomes of the times that are due.

Pure: no database and no clock; whoever asks says what time it is.
"""

from .due import Due, Planned, look, spread_delay
from .plans import (
    STATES,
    Plan,
    Plannable,
    carries_on,
    first_run,
    is_new_or_edited,
    is_planned,
    make,
    planned_text,
)
from .rules import check_expression, refusals

__all__ = [
    "STATES",
    "Due",
    "Plan",
    "Plannable",
    "Planned",
    "carries_on",
    "check_expression",
    "first_run",
    "is_new_or_edited",
    "is_planned",
    "look",
    "make",
    "planned_text",
    "refusals",
    "spread_delay",
]

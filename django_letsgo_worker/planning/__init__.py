"""Schedules as values: what one may be, when it runs next, and what becomes of the times that are due.

Pure: no database and no clock; the caller says what time it is.
"""

from .due import Due, Planned, Watch, exclusion, spread_delay
from .former import FormerPlan, look_back, noted_plans, replaced_plans, to_note
from .plans import (
    JUST_BEFORE,
    STATES,
    Plan,
    Plannable,
    carries_on,
    first_run,
    has_no_runs_left,
    is_due,
    is_new_or_edited,
    is_planned,
    mend,
    plan,
    planned_text,
)
from .rules import (
    DECLARED_FIELDS,
    DEFAULT_GRACE,
    FIELDS,
    MESSAGE_FIELDS,
    RUN_FIELDS,
    AddedFields,
    DeclaredFields,
    as_columns,
    check_expression,
    refusals,
)

__all__ = [
    "DECLARED_FIELDS",
    "DEFAULT_GRACE",
    "FIELDS",
    "JUST_BEFORE",
    "MESSAGE_FIELDS",
    "RUN_FIELDS",
    "STATES",
    "AddedFields",
    "DeclaredFields",
    "Due",
    "FormerPlan",
    "Plan",
    "Plannable",
    "Planned",
    "Watch",
    "as_columns",
    "carries_on",
    "check_expression",
    "exclusion",
    "first_run",
    "has_no_runs_left",
    "is_due",
    "is_new_or_edited",
    "is_planned",
    "look_back",
    "mend",
    "noted_plans",
    "plan",
    "planned_text",
    "refusals",
    "replaced_plans",
    "spread_delay",
    "to_note",
]

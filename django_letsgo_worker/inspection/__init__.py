"""The truth about the rows, each question answered once: living processes, waiting work, runs, problems.

Nothing is written or formatted here: every door asks here and shows the answer in its own way.
Projects may rely on `problems`, `explain`, `Explanation`, `failure`, `failures`, `is_alive`, `rates` and
`state_of`.
"""

from ..models import LIVE_STATES, in_state
from .actions import Action, action, leading_to, manage, spoken
from .agenda import MOST_JOBS, Agenda, Hour, PlannedRun, agenda_of, jobs_of_next_day
from .database_problems import migrate_command, not_migrated
from .diagnosis import Affected, affected, problems, problems_in, tell_problems
from .explanation import Explanation, explain, explanation_of
from .facts import (
    QueueFacts,
    TypeFacts,
    facts_of_queues,
    facts_of_types,
    queue_names,
    type_names,
    used_queues,
)
from .failure_groups import (
    FAILURE_STATES,
    MOST_FAILURES,
    FailureGroup,
    failure,
    failure_states,
    failures,
    groups_of,
    last_tried,
    samples_of,
    short_class,
    trend_of,
)
from .failure_problems import failing_types
from .heads import InHand, in_hand
from .lengths import at_clock, how_far, in_units, length, share_done, span
from .liveness import LIVENESS, counted_by_liveness, is_alive, liveness_of
from .overview import Totals, has_history, live_by_state, new_versions, next_jobs, totals
from .problem import CODES, ERROR, NOTICE, SEVERITIES, WARNING, Problem, by_harm
from .rates import Durations, History, Rate, history, history_lately, rates
from .runs import Run, clock_change, is_held_back, last_runs, newest_runs, next_runs, unrecorded, waits_for
from .schedule_problems import LATE, declared_names, does_something, is_late, pause_in_words, troubled
from .search import KINDS, WINDOW, Wanted, find_ended, find_live
from .snapshot import Snapshot, alias_of_queue
from .timeline import name_of
from .work import (
    BATCH,
    MOST_COUNTED,
    Work,
    count_capped,
    ended_by_outcome,
    ended_until,
    first_ones,
    state_of,
    types_waiting,
)

__all__ = [
    "BATCH",
    "CODES",
    "ERROR",
    "FAILURE_STATES",
    "KINDS",
    "LATE",
    "LIVENESS",
    "LIVE_STATES",
    "MOST_COUNTED",
    "MOST_FAILURES",
    "MOST_JOBS",
    "NOTICE",
    "SEVERITIES",
    "WARNING",
    "WINDOW",
    "Action",
    "Affected",
    "Agenda",
    "Durations",
    "Explanation",
    "FailureGroup",
    "History",
    "Hour",
    "InHand",
    "PlannedRun",
    "Problem",
    "QueueFacts",
    "Rate",
    "Run",
    "Snapshot",
    "Totals",
    "TypeFacts",
    "Wanted",
    "Work",
    "action",
    "affected",
    "agenda_of",
    "alias_of_queue",
    "at_clock",
    "by_harm",
    "clock_change",
    "count_capped",
    "counted_by_liveness",
    "declared_names",
    "does_something",
    "ended_by_outcome",
    "ended_until",
    "explain",
    "explanation_of",
    "facts_of_queues",
    "facts_of_types",
    "failing_types",
    "failure",
    "failure_states",
    "failures",
    "find_ended",
    "find_live",
    "first_ones",
    "groups_of",
    "has_history",
    "history",
    "history_lately",
    "how_far",
    "in_hand",
    "in_state",
    "in_units",
    "is_alive",
    "is_held_back",
    "is_late",
    "jobs_of_next_day",
    "last_runs",
    "last_tried",
    "leading_to",
    "length",
    "live_by_state",
    "liveness_of",
    "manage",
    "migrate_command",
    "name_of",
    "new_versions",
    "newest_runs",
    "next_jobs",
    "next_runs",
    "not_migrated",
    "pause_in_words",
    "problems",
    "problems_in",
    "queue_names",
    "rates",
    "samples_of",
    "share_done",
    "short_class",
    "span",
    "spoken",
    "state_of",
    "tell_problems",
    "totals",
    "trend_of",
    "troubled",
    "type_names",
    "types_waiting",
    "unrecorded",
    "used_queues",
    "waits_for",
]

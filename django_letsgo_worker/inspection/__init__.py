"""The truth about the rows, each question answered once: living processes, waiting work, runs, problems.

Nothing is written or formatted here: every door asks here and shows the answer in its own way.
Projects may rely on `is_alive` and `state_of`.
"""

from .diagnosis import LATE, Problem, declared_names, does_something, further_problems, is_late, problems
from .lengths import how_far, in_units, length
from .liveness import LIVENESS, counted_by_liveness, is_alive, liveness_of, serves, silent_after
from .runs import Run, last_runs, newest_runs, next_runs
from .snapshot import QueueFacts, Snapshot, TypeFacts, alias_of_queue
from .work import (
    BATCH,
    LIVE_STATES,
    MOST_COUNTED,
    Work,
    count_capped,
    ended_until,
    first_ones,
    in_state,
    state_of,
    types_waiting,
)

__all__ = [
    "BATCH",
    "LATE",
    "LIVENESS",
    "LIVE_STATES",
    "MOST_COUNTED",
    "Problem",
    "QueueFacts",
    "Run",
    "Snapshot",
    "TypeFacts",
    "Work",
    "alias_of_queue",
    "count_capped",
    "counted_by_liveness",
    "declared_names",
    "does_something",
    "ended_until",
    "first_ones",
    "further_problems",
    "how_far",
    "in_state",
    "in_units",
    "is_alive",
    "is_late",
    "last_runs",
    "length",
    "liveness_of",
    "newest_runs",
    "next_runs",
    "problems",
    "serves",
    "silent_after",
    "state_of",
    "types_waiting",
]

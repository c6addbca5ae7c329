"""The rows: messages live and finished, schedules and their occurrences, processes, pauses, statistics.

Models hold facts and answer questions about them; messages, schedules, processes and queues write them.
"""

from .clock import CLOCK_SQL, Clock, machine_clock
from .message import LIVE_STATES, ArchivedMessage, DeadLetter, Message, in_state
from .operation import BulkOperation, BulkOperationItem
from .planned import needs_a_look_sql
from .process import (
    Housekeeping,
    IdleQueue,
    MessageType,
    Pause,
    PausedType,
    Process,
    Progress,
    Queue,
    SchedulesPause,
)
from .schedule import Occurrence, ScheduledJob
from .statistic import Failure, Statistic

__all__ = [
    "CLOCK_SQL",
    "LIVE_STATES",
    "ArchivedMessage",
    "BulkOperation",
    "BulkOperationItem",
    "Clock",
    "DeadLetter",
    "Failure",
    "Housekeeping",
    "IdleQueue",
    "Message",
    "MessageType",
    "Occurrence",
    "Pause",
    "PausedType",
    "Process",
    "Progress",
    "Queue",
    "ScheduledJob",
    "SchedulesPause",
    "Statistic",
    "in_state",
    "machine_clock",
    "needs_a_look_sql",
]

"""The rows: messages live and finished, schedules and their occurrences, processes, queues.

Models hold facts and answer questions about them; messages, schedules, processes and queues write them.
"""

from .clock import CLOCK_SQL, machine_clock
from .message import ArchivedMessage, DeadLetter, Message
from .process import Housekeeping, IdleQueue, Process, Queue
from .schedule import Occurrence, ScheduledJob

__all__ = [
    "CLOCK_SQL",
    "ArchivedMessage",
    "DeadLetter",
    "Housekeeping",
    "IdleQueue",
    "Message",
    "Occurrence",
    "Process",
    "Queue",
    "ScheduledJob",
    "machine_clock",
]

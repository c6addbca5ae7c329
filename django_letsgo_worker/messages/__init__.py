"""Verbs on messages: the only writer of Message and ArchivedMessage.

enqueueing.py adds them, settlements.py is for workers; operations.py, retrying.py, operating.py, pausing.py
are for people; working_off.py, maintenance.py, pruning.py for the housekeeping. Nothing here runs a handler.
"""

from .enqueueing import aenqueue, enqueue, enqueue_many, enqueue_occurrences, occurrence_row
from .maintenance import expire, give_up_unknown_types, purge_batch
from .operating import find_operation, found_by, operate, operation_of, stop_operation, undo_operation
from .operations import (
    BulkResult,
    cancel,
    cancel_locked,
    discard,
    discard_many,
    find,
    let_start,
    redrive,
    redrive_many,
)
from .pausing import pause_facts, pause_type, paused_types, resume_due_types, resume_type
from .pruning import Pruning, prune
from .retrying import retry, retry_many
from .working_off import forget_operations, work_off_operations

__all__ = [
    "BulkResult",
    "Pruning",
    "aenqueue",
    "cancel",
    "cancel_locked",
    "discard",
    "discard_many",
    "enqueue",
    "enqueue_many",
    "enqueue_occurrences",
    "expire",
    "find",
    "find_operation",
    "forget_operations",
    "found_by",
    "give_up_unknown_types",
    "let_start",
    "occurrence_row",
    "operate",
    "operation_of",
    "pause_facts",
    "pause_type",
    "paused_types",
    "prune",
    "purge_batch",
    "redrive",
    "redrive_many",
    "resume_due_types",
    "resume_type",
    "retry",
    "retry_many",
    "stop_operation",
    "undo_operation",
    "work_off_operations",
]

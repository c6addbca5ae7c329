"""Verbs on messages: the only writer of Message and ArchivedMessage.

enqueueing.py adds them, settlements.py is for workers, operations.py and pausing.py for people,
maintenance.py for the housekeeping. Nothing here runs a handler.
"""

from .enqueueing import aenqueue, enqueue, enqueue_many, enqueue_occurrence
from .maintenance import expire, give_up_unknown_types, prune, prune_batch, purge_batch
from .operations import BulkResult, cancel, discard, discard_many, find, redrive, redrive_many
from .pausing import pause_facts, pause_type, paused_types, resume_due_types, resume_type

__all__ = [
    "BulkResult",
    "aenqueue",
    "cancel",
    "discard",
    "discard_many",
    "enqueue",
    "enqueue_many",
    "enqueue_occurrence",
    "expire",
    "find",
    "give_up_unknown_types",
    "pause_facts",
    "pause_type",
    "paused_types",
    "prune",
    "prune_batch",
    "purge_batch",
    "redrive",
    "redrive_many",
    "resume_due_types",
    "resume_type",
]

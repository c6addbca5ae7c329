"""Verbs on messages: the only writer of Message and ArchivedMessage.

enqueueing.py adds them, settlements.py is for workers, operations.py for people, maintenance.py for the
housekeeping. Nothing here runs a handler.
"""

from .enqueueing import aenqueue, enqueue, enqueue_many, enqueue_occurrence
from .maintenance import expire, give_up_unknown_types, prune, prune_batch, purge_batch
from .operations import BulkResult, cancel, discard, discard_many, find, redrive, redrive_many

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
    "prune",
    "prune_batch",
    "purge_batch",
    "redrive",
    "redrive_many",
]

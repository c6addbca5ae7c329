"""Verbs on messages: the only writer of Message and ArchivedMessage.

enqueueing.py adds them, working.py claims and settles for workers, byhand.py is for people,
keeping.py for the housekeeping. Nothing here runs a handler.
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

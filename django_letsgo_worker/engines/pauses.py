"""What is paused, in the words of the statements that look for work.

They read it themselves, so that a pause counts for the very next claim. Who pauses is no matter of this file.
"""

from __future__ import annotations

from ..models import PausedType, Queue
from .records import PAUSED

PAUSED_TYPES = f"SELECT name FROM {PausedType._meta.db_table}"

# Whether the queue that `name` says is paused.
IS_PAUSED = f"EXISTS (SELECT 1 FROM {Queue._meta.db_table} WHERE name = {{name}} AND paused_at IS NOT NULL)"
# Whether the type of a message is not paused.
TYPE_GOES_ON = f"type NOT IN ({PAUSED_TYPES})"
# The type of a message as a claim reads it, given what says that it is one of PAUSED_TYPES.
TYPE_READ = f"CASE WHEN {{is_paused}} THEN '{PAUSED}' ELSE type END"

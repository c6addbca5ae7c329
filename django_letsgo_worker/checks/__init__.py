"""What `manage.py check` says about this app before anything runs; importing it registers every check.

Each file is about one thing that can be wrong; which checks are made when stands in groups.
"""

from . import commands, configuration, database, handling, routing, rows
from .rows import types_waiting
from .tags import alias_of_queue

__all__ = [
    "alias_of_queue",
    "commands",
    "configuration",
    "database",
    "handling",
    "routing",
    "rows",
    "types_waiting",
]

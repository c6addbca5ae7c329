"""What `manage.py check` says about this app before anything runs; importing it registers every check.

Each file is about one thing that can be wrong; which checks are made when stands in groups.
"""

from . import commands, configuration, connecting, handling, routing, waiting
from .groups import alias_of_queue
from .waiting import types_waiting

__all__ = [
    "alias_of_queue",
    "commands",
    "configuration",
    "connecting",
    "handling",
    "routing",
    "types_waiting",
    "waiting",
]

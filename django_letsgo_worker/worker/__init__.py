"""A worker process: threads that claim, run and settle messages until they are told to stop.

messages and engines decide what is written about a message; this package decides when, and on which thread.
"""

from .options import Options
from .supervisor import Supervisor
from .worker import Worker

__all__ = ["Options", "Supervisor", "Worker"]

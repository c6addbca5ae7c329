"""A worker process: threads that claim, run and settle messages until they are told to stop.

What is written about a message is decided in messages and engines; here is when, and on which thread.
"""

from .options import Options
from .supervisor import Supervisor
from .worker import Worker

__all__ = ["Options", "Supervisor", "Worker"]

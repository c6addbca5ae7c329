"""Metrics and health over HTTP, for commands that were given --monitor; the core knows nothing of it.

The metrics are listed in metrics; their numbers come from counters, health, gauges and multiprocess.
"""

from .cli import Watch, add_arguments, monitored

__all__ = ["Watch", "add_arguments", "monitored"]

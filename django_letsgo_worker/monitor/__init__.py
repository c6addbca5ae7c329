"""Metrics and health over HTTP, for commands that were given --monitor; the core knows nothing of it.

What is counted is in metrics, and where the numbers come from in counting, gauges and children.
"""

from .cli import Watch, add_arguments, monitored

__all__ = ["Watch", "add_arguments", "monitored"]

"""The loggers of tasks, which are ordinary ones here."""

from __future__ import annotations

import logging


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger of a `name`; filters of ours add the message's id and attempt to what it writes."""
    return logging.getLogger(name)

"""Log lines of the demonstration: a failure on purpose is one line, any other has its traceback."""

from __future__ import annotations

import copy
import logging

from django_letsgo_worker import Reject


class Line(logging.Formatter):
    """A short line with the time, the level and the message."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:<7} {message}", "%H:%M:%S", style="{")

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        # A handler that rejects says why; the others are the shop's exceptions that are marked.
        if not (isinstance(error, Reject) or getattr(error, "on_purpose", False)):
            return super().format(record)
        # A copy: other log handlers get the record with its traceback.
        brief = copy.copy(record)
        brief.exc_info = brief.exc_text = None
        return f"{super().format(brief)} On purpose: {error}"

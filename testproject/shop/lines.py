"""The console of the demonstration: a failure made on purpose is one line, any other brings its traceback."""

from __future__ import annotations

import copy
import logging

from django_letsgo_worker import Reject


class Line(logging.Formatter):
    """The time, the level and the message: what fits on a screen."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:<7} {message}", "%H:%M:%S", style="{")

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        # A handler that rejects says why; the rest are the exceptions of the shop that say so of themselves.
        if not (isinstance(error, Reject) or getattr(error, "on_purpose", False)):
            return super().format(record)
        # A copy: what others do with the record, and its traceback, is theirs.
        brief = copy.copy(record)
        brief.exc_info = brief.exc_text = None
        return f"{super().format(brief)} On purpose: {error}"

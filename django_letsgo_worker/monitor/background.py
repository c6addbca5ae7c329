"""A query on a background thread, with a time limit and a cache, so that it holds up nobody who asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import connections

from ..engines import adopt_own_connection

logger = logging.getLogger("django_letsgo_worker.monitor")

T = TypeVar("T")


class Question(Generic[T]):
    """A query made at most once in `believed_for` seconds, and never twice at a time.

    Each time it opens a short connection, set up as the workers' are.
    """

    def __init__(self, using: str, ask: Callable[[], T], believed_for: float) -> None:
        self._using = using
        self._ask = ask
        self._believed_for = believed_for
        self._lock = threading.Lock()
        self._asking: threading.Event | None = None
        self._answer: T | None = None
        self._answered_at = float("-inf")

    def answer(self, patience: float) -> T | None:
        """Return an answer that is fresh, waiting `patience` seconds at most; None if there is none."""
        with self._lock:
            if self._is_fresh():
                return self._answer
            asking = self._asking
            if asking is None:
                asking = self._asking = threading.Event()
                threading.Thread(target=self._run, args=(asking,), name="letsgo-ask", daemon=True).start()
        asking.wait(patience)
        with self._lock:
            return self._answer if self._is_fresh() else None

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._answered_at < self._believed_for

    def _run(self, asking: threading.Event) -> None:
        answer: T | None = None
        try:
            adopt_own_connection(self._using)
            answer = self._ask()
        except Exception as error:
            logger.debug("The monitor could not query the database: %s", error)
        finally:
            connections.close_all()
            with self._lock:
                self._answer, self._answered_at, self._asking = answer, time.monotonic(), None
            asking.set()

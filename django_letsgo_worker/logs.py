"""Log lines about deliveries, written by signal receivers: one line per attempt, never a payload.

Successes and planned times that come faster than people read are summed up in one line per second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from .delivery import Delivery
from .signals import delivery_failed, delivery_finished, message_died, occurrence_fired
from .validation import counted

if TYPE_CHECKING:
    from .models import Message, Occurrence, ScheduledJob

logger = logging.getLogger("django_letsgo_worker.worker")
scheduler_logger = logging.getLogger("django_letsgo_worker.scheduler")

LEVELS = {"succeeded": logging.INFO, "snoozed": logging.INFO, "released": logging.INFO, "dead": logging.ERROR}

# Up to this many events of one kind per second get a line each.
LINES_A_SECOND = 100


class Crowd:
    """A rate limit for lines of one kind: above LINES_A_SECOND the further ones share one line per second.

    `summary` is that line: it takes how many events had no line (`noun` names one), and in how many seconds.
    """

    def __init__(self, logger: logging.Logger, summary: str, noun: str, event: str) -> None:
        self._logger = logger
        self._summary = summary
        self._noun = noun
        self._event = event
        self._lock = threading.Lock()
        self._since = float("-inf")
        self._count = 0

    def has_a_line(self) -> bool:
        """Count one event; return whether it gets a line."""
        with self._lock:
            now = time.monotonic()
            if now - self._since >= 1.0 and self._count <= LINES_A_SECOND:
                self._since, self._count = now, 0
            self._count += 1
            if self._count == LINES_A_SECOND + 1:
                timer = threading.Timer(1.0, self._say)
                timer.daemon = True
                timer.start()
            return self._count <= LINES_A_SECOND

    def _say(self) -> None:
        with self._lock:
            more, seconds = self._count - LINES_A_SECOND, time.monotonic() - self._since
            self._since, self._count = time.monotonic(), 0
        self._logger.info(self._summary, counted(more, self._noun), seconds, extra={"event": self._event})


_successes = Crowd(logger, "succeeded: %s in %.1f s.", "more message", "messages.succeeded")
_occurrences = Crowd(
    scheduler_logger, "fired or skipped: %s in %.1f s.", "more planned time", "occurrences.recorded"
)


# The attempts whose failure is already logged, and its outcome. Not all of them end: a lease may be lost.
_said: OrderedDict[tuple[int, int], str] = OrderedDict()
MOST_SAID = 10_000


def log_failure(
    delivery: Delivery,
    outcome: str,
    seconds: float,
    exception: BaseException,
    delay: float | None,
    **kwargs: Any,
) -> None:
    """Log a failed attempt where it failed, inside its context."""
    _write(delivery, outcome, seconds, delay, failure=exception, traceback=exception)
    _said[delivery.message_id, delivery.receipt] = outcome
    while len(_said) > MOST_SAID:
        _said.popitem(last=False)


def log_delivery(
    delivery: Delivery,
    outcome: str,
    seconds: float,
    exception: BaseException | None,
    delay: float | None,
    **kwargs: Any,
) -> None:
    """Log an attempt that ended; a failure's traceback is logged once."""
    if exception is None or outcome not in ("retry", "dead", "expired"):
        if outcome != "succeeded" or (logger.isEnabledFor(logging.INFO) and _successes.has_a_line()):
            _write(delivery, outcome, seconds, delay)
        return
    said = _said.pop((delivery.message_id, delivery.receipt), None)
    if said != outcome:
        # If the database decided on another outcome, the traceback is logged already.
        traceback = exception if said is None else None
        _write(delivery, outcome, seconds, delay, failure=exception, traceback=traceback)


def _write(
    delivery: Delivery,
    outcome: str,
    seconds: float,
    delay: float | None,
    *,
    failure: BaseException | None = None,
    traceback: BaseException | None = None,
) -> None:
    again = f", again in {delay:.3g} s" if delay is not None else ""
    facts = {
        "event": f"message.{outcome}",
        "message_id": delivery.message_id,
        "message_type": delivery.type,
        "queue": delivery.queue,
        "attempt": delivery.attempt,
        "seconds": seconds,
    }
    logger.log(
        LEVELS.get(outcome, logging.WARNING),
        "%s: message %s (%s) in %s, attempt %d of %d, %.3f s%s%s",
        outcome,
        delivery.message_id,
        delivery.type,
        delivery.queue,
        delivery.attempt,
        delivery.max_attempts,
        seconds,
        again,
        f" [{type(failure).__name__}]" if failure is not None else "",
        exc_info=traceback,
        extra=facts,
    )


def log_death(message_id: int, type: str, queue: str, delivery: Delivery | None, **kwargs: Any) -> None:
    """Log a dead letter that belongs to no delivery."""
    if delivery is None:
        logger.error("dead: message %s (%s) in %s is kept as a dead letter.", message_id, type, queue)


def log_occurrence(
    occurrence: Occurrence, message: Message | None, schedule: ScheduledJob, **kwargs: Any
) -> None:
    """Log a planned time: fired, fired late, or skipped and why."""
    if not scheduler_logger.isEnabledFor(logging.INFO) or not _occurrences.has_a_line():
        return
    planned = f"{occurrence.planned_at:%Y-%m-%d %H:%M:%S} UTC"
    facts = {"event": "occurrence.recorded", "schedule": schedule.name}
    if message is None:
        count = f", with {more} before it" if (more := occurrence.skipped_count - 1) > 0 else ""
        line = f"skipped: schedule {schedule.name}, planned at {planned}{count}: {occurrence.skipped_because}"
        scheduler_logger.warning(line, extra=facts)
        return
    late = (occurrence.fired_at - occurrence.planned_at).total_seconds()
    is_late = late >= schedule.misfire_grace.total_seconds()
    word, by = ("fired late", f", {late:.0f} s ago") if is_late else ("fired", "")
    made = f"as message {message.pk} ({message.type})"
    line = f"{word}: schedule {schedule.name}, planned at {planned}{by}, {made}"
    scheduler_logger.log(logging.WARNING if is_late else logging.INFO, line, extra=facts)


def to_console(verbosity: int) -> None:
    """Show log lines on the terminal if the project has no logging for them; INFO from verbosity 1 on."""
    root = logging.getLogger("django_letsgo_worker")
    if root.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("{asctime} {levelname:<7} {message}", style="{"))
    root.addHandler(handler)
    root.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG))


def connect() -> None:
    """Connect the receivers to the signals; repeated calls change nothing."""
    delivery_failed.connect(log_failure, dispatch_uid="django_letsgo_worker.logs.failure")
    delivery_finished.connect(log_delivery, dispatch_uid="django_letsgo_worker.logs.delivery")
    message_died.connect(log_death, dispatch_uid="django_letsgo_worker.logs.death")
    occurrence_fired.connect(log_occurrence, dispatch_uid="django_letsgo_worker.logs.occurrence")

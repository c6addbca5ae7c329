"""Log lines about deliveries, written by signal receivers, and lines as JSON; never a payload.

Successes and planned times that come faster than people read are summed up in one line per second.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from . import context
from .delivery import Delivery
from .signals import delivery_failed, delivery_finished, message_died, occurrence_fired
from .validation import counted, show

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
    facts = {"event": f"message.{outcome}", **context.facts_of(delivery), "seconds": seconds}
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


# -- lines for programs --------------------------------------------------------------------------------------

# What every record has; the rest of its attributes are what `extra` and filters added.
_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JSONFormatter(logging.Formatter):
    """Writes each log record as one JSON object in one line.

    Its keys are `time` (ISO 8601, UTC), `level`, `logger`, `message`; while a message is handled
    `message_id`, `message_type`, `queue`, `attempt` and `correlation_id`; what `extra` and filters added; and
    `exception` and `stack`, as text. A value that is not JSON is written as text. Where another thread
    formats records (QueueHandler), give the handler that takes them CorrelationFilter. `fmt`, `datefmt`,
    `style`, `validate` and `defaults` are logging's own, and change nothing.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        added = {
            name: value
            for name, value in vars(record).items()
            if not (name in _OF_EVERY_RECORD or (name in context.FACTS and value == context.ABSENT))
        }
        # Once more at the end: what a line says of itself wins, in the first place.
        line = {**said, **context.facts(), **added, **said}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            return json.dumps(line, default=_text, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            plain = (str, int, type(None))
            return json.dumps({n: v if isinstance(v, plain) else _text(v) for n, v in line.items()})


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return show(value)


def merge_message(logger: Any, method_name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add what is known of the message being handled: a processor for structlog, in both of its chains.

    It returns `event` with the keys of JSONFormatter; what the line says of itself wins. `logger` and
    `method_name` are structlog's, and not used.
    """
    # Of other libraries' lines ProcessorFormatter gives the record, in which ours name their message.
    said = vars(event["_record"]) if "_record" in event else {}
    for name, value in {**context.facts(), **said}.items():
        if name in context.FACTS and value != context.ABSENT:
            event.setdefault(name, value)
    return event


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
    delivery_finished.connect(
        log_delivery,
        dispatch_uid="django_letsgo_worker.logs.delivery",
        wants=partial(logger.isEnabledFor, logging.INFO),
    )
    message_died.connect(log_death, dispatch_uid="django_letsgo_worker.logs.death")
    occurrence_fired.connect(log_occurrence, dispatch_uid="django_letsgo_worker.logs.occurrence")

"""The table of metrics that are served: name, kind, labels and meaning, as in docs/reference/metrics.md.

Nothing is counted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# A value's name and the values of its labels. A histogram has one more label: a bucket's upper limit,
# not cumulated, or "sum".
Key = tuple[str, tuple[str, ...]]
Values = Mapping[Key, float]

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
SUM = "sum"
# Upper limits of the buckets in seconds, from a look-up to a long report.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: str
    labels: tuple[str, ...]
    what: str


METRICS = (
    Metric(
        "letsgo_messages_enqueued_total",
        COUNTER,
        ("queue", "type"),
        "Messages that this process enqueued and committed.",
    ),
    Metric("letsgo_attempts_total", COUNTER, ("queue", "type", "outcome"), "Attempts that ended."),
    Metric("letsgo_attempt_duration_seconds", HISTOGRAM, (), "How long attempts ran."),
    Metric(
        "letsgo_message_wait_seconds",
        HISTOGRAM,
        (),
        "From enqueueing, or a schedule's planned time, to the first attempt.",
    ),
    Metric("letsgo_seats", GAUGE, (), "Messages that can be handled at the same time."),
    Metric("letsgo_seats_busy", GAUGE, (), "Handlers running now."),
    Metric("letsgo_polls_total", COUNTER, ("result",), "Polls of the database: claimed, empty or error."),
    Metric("letsgo_leases_lost_total", COUNTER, (), "Attempts whose lease was lost."),
    Metric("letsgo_messages_died_total", COUNTER, ("queue", "type"), "Messages that became dead letters."),
    Metric("letsgo_queue_messages", GAUGE, ("queue", "state"), "Live messages by state."),
    Metric(
        "letsgo_queue_oldest_ready_seconds",
        GAUGE,
        ("queue",),
        "How long the oldest ready message has been ready; 0 without one.",
    ),
    Metric(
        "letsgo_queue_unknown_messages",
        GAUGE,
        ("queue",),
        "Ready messages whose type no living worker knows.",
    ),
    Metric("letsgo_queue_workers", GAUGE, ("queue",), "Living workers that serve the queue."),
    Metric("letsgo_queue_paused", GAUGE, ("queue",), "1 while the queue is paused, else 0."),
    Metric("letsgo_dead_letters", GAUGE, ("queue",), "Dead letters that are kept."),
    Metric("letsgo_processes", GAUGE, ("kind", "state"), "Processes by kind and state."),
    Metric("letsgo_schedules", GAUGE, ("state",), "Schedules: on, off or broken."),
    Metric(
        "letsgo_schedule_occurrences_total",
        COUNTER,
        ("schedule", "result"),
        "Planned times that this process fired or skipped.",
    ),
    Metric(
        "letsgo_schedule_next_run_timestamp_seconds",
        GAUGE,
        ("schedule",),
        "The next planned time of a schedule that is on.",
    ),
    Metric(
        "letsgo_problems",
        GAUGE,
        ("code", "severity"),
        "Problems that are found now; none of a code that is not found.",
    ),
)

"""The table of docs/reference/metrics.md and the code say the same; loops that hang are found."""

from __future__ import annotations

import time

from django_letsgo_worker.monitor.health import Vitals, stuck
from django_letsgo_worker.monitor.metrics import BUCKETS, METRICS
from django_letsgo_worker.monitor.multiprocess import SUFFIX, Ledger, read
from tests.docs.test_documented_tables import table
from tests.support import ROOT

ROWS = table(
    "reference/metrics.md", "ours", "kind", "labels", "what", "asyncjobs' name, after `choria_asyncjobs_`"
)

THEIRS = (
    "queue_enqueue_count",
    "queue_enqueue_error_count",
    "queue_item_corrupt_error_count",
    "queue_task_not_found_error_count",
    "queue_task_past_deadline_count",
    "queue_task_past_max_tries_count",
    "queue_poll_total",
    "queue_poll_error_total",
    "task_update_total",
    "task_update_error_total",
    "handler_busy_count",
    "handler_error_total",
    "handler_runtime",
    "task_scheduler_paused",
    "task_scheduler_schedules_total",
    "task_scheduler_scheduled_count",
    "task_scheduler_schedule_error_count",
    "election_leader",
)


def test_each_metric_is_in_the_table_once_and_in_order():
    documented = [
        (
            row[0].strip("`"),
            row[1],
            tuple(part.strip(" `") for part in row[2].split(",") if part != "–"),
            row[3],
        )
        for row in ROWS
    ]
    assert documented == [(metric.name, metric.kind, metric.labels, metric.what) for metric in METRICS]


def test_each_fact_of_asyncjobs_has_a_row():
    told = " ".join(row[4] for row in ROWS)
    assert [name for name in THEIRS if f"`{name}`" not in told] == []


def test_the_names_follow_the_conventions():
    for metric in METRICS:
        assert metric.name.startswith("letsgo_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not metric.name.endswith(("_count", "_sum", "_bucket"))


def test_an_alert_names_only_metrics_and_labels_that_there_are():
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for metric in METRICS:
        page = page.replace(metric.name, "")
    assert "letsgo_" not in page.replace("django_letsgo_worker", "")


def test_the_buckets_climb():
    assert list(BUCKETS) == sorted(set(BUCKETS))


def test_a_loop_that_does_not_turn_is_stuck():
    now = time.monotonic()
    turning = Vitals(name="worker", turned_at=now - 5, longest_turn=60)
    hanging = Vitals(name="scheduler", turned_at=now - 61, longest_turn=60)

    assert stuck([turning]) == []
    assert stuck([turning, hanging]) == ["The scheduler loop has stalled."]


def test_a_ledger_holds_what_was_written_however_much_it_is(tmp_path):
    ledger = Ledger(tmp_path, "one")
    wanted = {("name", ("ü" * 60, f"type{n}")): float(n) for n in range(3000)}
    for key, value in wanted.items():
        ledger.write(key, -1.0)
        ledger.write(key, value)

    # Of this very process, so its own lock does not show.
    assert read(tmp_path / f"one{SUFFIX}")[0] == wanted

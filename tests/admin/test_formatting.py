"""How pages of the admin write lengths of time and moments: short ones in words that mean something."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from django_letsgo_worker.admin import formatting


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (9.3e-06, "< 1 ms"),
        (0.000999, "< 1 ms"),
        (0.001, "1 ms"),
        (0.0123, "12 ms"),
        (0.25, "250 ms"),
        (0.9999, "999 ms"),
        (1.5, "1 s"),
        (3_725, "1 h 2 min"),
    ],
)
def test_a_length_of_time_on_a_page_has_units_of_people(seconds, said):
    assert formatting.span(seconds) == said


def test_a_timeline_has_the_moments_of_its_page_and_folds_tracebacks_away(settings):
    settings.TIME_ZONE = "Asia/Kathmandu"
    at = datetime(2026, 11, 27, 20, 59, 42, 595196, tzinfo=UTC)
    failed = {"at": at, "event": "failed", "sentence": "Try 1 failed: <b>", "class": "shop.Bad"}
    failed |= {"message": "no", "process": "web-1", "traceback": "Traceback <i>"}
    page = formatting.timeline([{"at": at, "event": "enqueued", "sentence": "Enqueued."}, failed, failed])

    assert "2026-11-28 02:44:42" in page
    assert "Try 1 failed: &lt;b&gt;" in page and "Traceback &lt;i&gt;" in page
    assert page.count("<details") == 2
    assert page.count('<details class="lg-attempt" open>') == 1

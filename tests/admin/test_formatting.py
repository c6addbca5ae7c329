"""How pages of the admin write lengths of time and moments: short ones in words that mean something."""

from __future__ import annotations

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


def test_the_moment_of_an_attempt_has_the_form_of_its_page(settings):
    settings.TIME_ZONE = "Asia/Kathmandu"
    page = formatting.attempts([{"attempt": 1, "at": "2026-11-27T20:59:42.595196+00:00", "seconds": 9.3e-06}])

    assert "2026-11-28 02:44:42 · &lt; 1 ms" in page


@pytest.mark.parametrize("at", [None, 5, "yesterday", ["x"], {}])
def test_what_is_recorded_as_a_moment_and_is_none_leaves_the_attempt_readable(at):
    assert "Attempt 1" in formatting.attempts([{"attempt": 1, "at": at}])

"""How letsgo writes lengths of time and moments on a terminal."""

from __future__ import annotations

import pytest

from django_letsgo_worker.management.letsgo import formats


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, "0"), (9.3e-06, "< 0.001"), (0.012, "0.012"), (2.5, "2.5")]
)
def test_seconds_on_a_terminal_are_none_or_less_than_a_thousandth(seconds, said):
    assert formats.as_text(seconds) == said


@pytest.mark.parametrize("at", [None, 5, "yesterday", ["x"], {}])
def test_what_is_recorded_as_a_moment_and_is_none_is_shown_as_it_is(at):
    assert formats.recorded(at) == formats.as_text(at)

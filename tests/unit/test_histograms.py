"""Histograms of durations: buckets, sums, percentiles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from django_letsgo_worker.histograms import LEAST, Histogram, add_to, bounds_of, bucket_of, percentile

DURATIONS = some.floats(min_value=LEAST, max_value=10_000_000)


def histogram_of(durations: list[float]) -> Histogram:
    histogram: Histogram = {}
    for seconds in durations:
        add_to(histogram, {bucket_of(seconds): 1})
    return histogram


@given(DURATIONS)
def test_a_duration_lies_within_the_bounds_of_its_bucket(seconds):
    low, high = bounds_of(bucket_of(seconds))
    assert low <= seconds < high
    assert high / low <= 1.25


@given(some.integers(-50, 100))
def test_buckets_leave_no_gap(bucket):
    assert bounds_of(bucket)[1] == bounds_of(bucket + 1)[0]
    assert bucket_of(max(LEAST, bounds_of(bucket)[0])) == max(bucket, bucket_of(LEAST))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, LEAST])
def test_what_is_too_short_to_matter_is_in_one_bucket(seconds):
    assert bucket_of(seconds) == bucket_of(LEAST)


@given(some.lists(DURATIONS, min_size=1, max_size=60), some.floats(min_value=0.01, max_value=1.0))
def test_a_percentile_is_in_the_bucket_of_the_exact_one(durations, share):
    exact = sorted(durations)[max(0, math.ceil(share * len(durations)) - 1)]
    low, high = bounds_of(bucket_of(exact))
    found = percentile(histogram_of(durations), share)
    assert found is not None and low <= found <= high


@given(some.lists(DURATIONS), some.lists(DURATIONS))
def test_two_histograms_added_up_are_that_of_both(some_durations, others):
    total = histogram_of(some_durations)
    # As JSON gives it back: its keys are text.
    add_to(total, {str(bucket): count for bucket, count in histogram_of(others).items()})
    assert total == histogram_of(some_durations + others)


def test_there_is_no_percentile_of_nothing():
    assert percentile({}, 0.5) is None

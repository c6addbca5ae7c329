"""Histograms of durations in fixed logarithmic buckets, so that any two can be added up.

A bucket is at most a quarter wide, so that a percentile is right to that, over any span of time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

# What is shorter, in seconds, is in the bucket of this.
LEAST = 0.0001
# Buckets in which a duration doubles.
STEPS = 4

Histogram = dict[int, int]


def bucket_of(seconds: float, frexp: Callable[[float], tuple[float, int]] = math.frexp) -> int:
    """Return the number of the bucket that a duration is in."""
    mantissa, exponent = frexp(seconds if seconds > LEAST else LEAST)
    return STEPS * exponent + int(2 * STEPS * mantissa)


def bounds_of(bucket: int) -> tuple[float, float]:
    """Return the shortest duration of a bucket, and that of the next one, in seconds."""
    exponent, step = divmod(bucket - STEPS, STEPS)
    width = math.ldexp(1.0, exponent) / (2 * STEPS)
    return (STEPS + step) * width, (STEPS + step + 1) * width


def add_to(histogram: Histogram, other: Mapping[Any, int]) -> None:
    """Add what another histogram, or one read from JSON, has counted."""
    for bucket, count in other.items():
        histogram[int(bucket)] = histogram.get(int(bucket), 0) + count


def read(value: Any) -> Histogram:
    """Return a histogram as JSON gave it back; an empty one for anything that is none."""
    try:
        return {int(bucket): int(count) for bucket, count in value.items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """Return the duration that this share of all, between 0 and 1, does not exceed; None where there is none.

    It is the middle of its bucket.
    """
    wanted = share * sum(histogram.values())
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= wanted:
            low, high = bounds_of(bucket)
            return (low + high) / 2
    return None

"""The arithmetic: medians, percentiles, and ratios of what was measured in the same round.

No measuring, no reading of files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Record = dict[str, Any]
# What one measurement found, by name.
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a figure stands: one contestant in one case of one workload."""

    engine: str
    workload: str
    contestant: str
    case: str = ""


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that `share` percent of the values don't exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def by_round(records: Sequence[Record], cell: Cell, figure: str) -> dict[int, float]:
    """Return a cell's figure in each round that has it."""
    return {
        record["round"]: record["figures"][figure]
        for record in records
        if figure in record.get("figures", ())
        and Cell(record["engine"], record["workload"], record["contestant"], record["case"]) == cell
    }


def middle(records: Sequence[Record], cell: Cell, figure: str) -> float | None:
    """Return the median over the rounds; None when there is no figure."""
    values = by_round(records, cell, figure).values()
    return median(values) if values else None


def ratio(records: Sequence[Record], cell: Cell, other: Cell, figure: str) -> float | None:
    """Return the median of the ratios of each round: what slows a machine down slows both of a pair."""
    values, others = by_round(records, cell, figure), by_round(records, other, figure)
    ratios = [values[number] / others[number] for number in values.keys() & others.keys() if others[number]]
    return median(ratios) if ratios else None

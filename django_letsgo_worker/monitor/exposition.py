"""Values as Prometheus reads them. The only module that knows prometheus-client, an extra.

Each process has a register of its own: what a project does with the global one is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from .counters import LIMITS
from .metrics import COUNTER, GAUGE, HISTOGRAM, METRICS, SUM, Metric, Values

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


def render(values: Values, accept: str) -> tuple[bytes, str]:
    """Return the page and its content type, in the format that the reader accepts."""
    registry = CollectorRegistry()
    registry.register(_Values(lambda: values))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Values(Collector):
    def __init__(self, read: Callable[[], Values]) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        values = self._read()
        for metric in METRICS:
            yield _histogram(metric, values) if metric.kind == HISTOGRAM else _plain(metric, values)


def _plain(metric: Metric, values: Values) -> Family:
    families = {COUNTER: CounterMetricFamily, GAUGE: GaugeMetricFamily}
    family: CounterMetricFamily | GaugeMetricFamily = families[metric.kind](
        metric.name, metric.what, labels=metric.labels
    )
    found = {labels: value for (name, labels), value in values.items() if name == metric.name}
    if not metric.labels:
        # There from the beginning, so that its first step is seen.
        found = found or {(): 0.0}
    for labels, value in sorted(found.items()):
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, values: Values) -> Family:
    family = HistogramMetricFamily(metric.name, metric.what)
    buckets, count = [], 0.0
    for limit in LIMITS:
        count += values.get((metric.name, (limit,)), 0.0)
        buckets.append((limit, count))
    family.add_metric([], buckets, values.get((metric.name, (SUM,)), 0.0))
    return family

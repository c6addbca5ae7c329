"""The monitor of one process, or of a parent and its children: counts, gauges and health as pages.

The only module that knows prometheus-client, an extra, so it is imported only when it is used. Each process
has a register of its own: what a project does with the global one is not touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from django.core.management.base import CommandError
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from .background import Question
from .counters import LIMITS, Receivers, Tally
from .gauges import Gauges
from .health import Look, Readiness, Vitals, Watchable, look_at, stuck
from .metrics import COUNTER, GAUGE, HISTOGRAM, METRICS, SUM, Key, Metric, Values
from .multiprocess import Gathering
from .server import Answer, Server

# How long the gauges of the database are believed, and how long a scrape waits for new ones, in seconds.
BELIEVED_FOR = 5.0
PATIENCE = 5.0

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Monitor:
    """The server of /metrics, /healthz and /readyz; a port that cannot be had is a CommandError."""

    def __init__(self, host: str, port: int, *, using: str, stop: threading.Event, parent: bool) -> None:
        self._stopping = stop
        self._looks: list[Look] = []
        self._tally = Tally()
        self._receivers = Receivers(self._tally)
        self._gauges = Question(using, Gauges(using).read, BELIEVED_FOR)
        self._readiness = Readiness(using)
        pages = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
        try:
            self._server = Server(host, port, pages)
        except OSError as error:
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise CommandError(f"Cannot listen on {place}: {error.strerror or error}.") from error
        self._children = Gathering() if parent else None

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments for the children of this process."""
        return () if self._children is None else ("--monitor-into", str(self._children.directory))

    def __call__(self, subject: Watchable) -> None:
        self._looks.append(look_at(subject))

    def start(self) -> None:
        self._receivers.connect()
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        self._receivers.disconnect()
        if self._children is not None:
            self._children.close()

    # -- the pages ------------------------------------------------------------------------------------

    def _metrics(self, accept: str) -> Answer:
        values = {**self._read()[0], **(self._gauges.answer(PATIENCE) or {})}
        body, content_type = render(values, accept)
        return Answer(200, body, content_type)

    def _healthz(self, accept: str) -> Answer:
        return _said(stuck(self._read()[1]))

    def _readyz(self, accept: str) -> Answer:
        return _said(self._readiness.problems(self._read()[1], self._stopping.is_set))

    def _read(self) -> tuple[dict[Key, float], list[Vitals]]:
        vitals = [look() for look in list(self._looks)]
        values: dict[Key, float] = {}
        children: list[Vitals] = []
        if self._children is not None:
            values, children = self._children.read()
        for part in (self._tally.values(), *(one.values for one in vitals)):
            for key, value in part.items():
                values[key] = values.get(key, 0.0) + value
        return values, vitals + children


def _said(problems: list[str]) -> Answer:
    text = "\n".join(problems or ["ok"])
    return Answer(503 if problems else 200, f"{text}\n".encode())


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

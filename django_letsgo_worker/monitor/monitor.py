"""The monitor of one process, or of a parent and its children: puts counts, gauges and health together.

How they are served is the server's, how they are written exposition's.
"""

from __future__ import annotations

import threading

from django.core.management.base import CommandError

from .background import Question
from .children import Gathering
from .counters import Tally
from .gauges import Gauges
from .health import Readiness, stuck
from .metrics import Key
from .receivers import Counting
from .server import Answer, Server
from .watching import Look, Vitals, Watchable, look_at

# How long the gauges of the database are believed, and how long a scrape waits for new ones, in seconds.
BELIEVED_FOR = 5.0
PATIENCE = 5.0


class Monitor:
    """Serves /metrics, /healthz and /readyz from start() to stop().

    What it cannot have, the port or prometheus-client, ends the command with a sentence.
    """

    def __init__(self, host: str, port: int, *, using: str, stop: threading.Event, parent: bool) -> None:
        _require_prometheus()
        self._stopping = stop
        self._looks: list[Look] = []
        self._tally = Tally()
        self._counting = Counting(self._tally)
        self._gauges = Question(using, Gauges(using).read, BELIEVED_FOR)
        self._readiness = Readiness(using)
        pages = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
        try:
            self._server = Server(host, port, pages)
        except OSError as error:
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise CommandError(f"Nothing can be served on {place}: {error.strerror or error}.") from error
        self._children = Gathering() if parent else None

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the children of this process are to be told."""
        return () if self._children is None else ("--monitor-into", str(self._children.directory))

    def __call__(self, subject: Watchable) -> None:
        self._looks.append(look_at(subject))

    def start(self) -> None:
        self._counting.connect()
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        self._counting.disconnect()
        if self._children is not None:
            self._children.close()

    # -- the pages ------------------------------------------------------------------------------------

    def _metrics(self, accept: str) -> Answer:
        from .exposition import render

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


def _require_prometheus() -> None:
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise CommandError(
            "--monitor needs prometheus-client: python -m pip install 'django-letsgo-worker[monitor]'."
        ) from None

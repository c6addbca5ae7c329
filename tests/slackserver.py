"""A Slack for the tests: a real HTTP server on this machine that notes requests and answers as it is told."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.utils import timezone

from django_letsgo_worker.contrib.slack import client, turns
from django_letsgo_worker.models import Message

# The part of a webhook's URL that is its secret.
CANARY = "T0CANARY/B0CANARY/xoxcanaryxox"
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Script:
    """What the server is to do with one request; `wait` is called before it answers."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    wait: Callable[[], object] | None = None


class SlackServer:
    """A webhook at `url`. It answers 200 ok, or what `answer()` queued, each for one request."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.most_at_once = 0
        self.released = threading.Event()
        self._busy = 0
        self._scripts: deque[Script] = deque()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/services/{CANARY}"

    @property
    def texts(self) -> list[str]:
        """The text of each message that came, in order."""
        return [request.json.get("text", "") for request in list(self.received)]

    def answer(
        self,
        status: int = 200,
        body: bytes = b"ok",
        *,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
        wait: Callable[[], object] | None = None,
    ) -> None:
        """Answer the next request that has no answer yet so; `raw` is sent instead of any HTTP."""
        self._scripts.append(Script(status, body, headers or {}, raw, wait))

    def hang(self) -> None:
        """Leave the next request without an answer until the server is closed."""
        self.answer(wait=lambda: self.released.wait(PATIENCE))

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def _take(self, received: Received) -> Script:
        with self._lock:
            self.received.append(received)
            self._busy += 1
            self.most_at_once = max(self.most_at_once, self._busy)
            return self._scripts.popleft() if self._scripts else Script()

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                script = server._take(Received(self.command, self.path, dict(self.headers), body))
                try:
                    if script.wait is not None:
                        script.wait()
                finally:
                    # Before the answer: whoever has it may send the next request at once.
                    server._leave()
                self._say(script)

            def do_GET(self) -> None:  # what a followed redirect would be
                self.do_POST()

            def _say(self, script: Script) -> None:
                self.close_connection = True
                try:
                    if script.raw is not None:
                        self.wfile.write(script.raw)
                        return
                    self.send_response(script.status)
                    for name, value in script.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(script.body)))
                    self.end_headers()
                    self.wfile.write(script.body)
                except OSError:
                    pass  # the client went away

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture(name="slack")
def slack_fixture(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    """A Slack that LETSGO_SLACK_URL points to; what other tests waited is not held against this one."""
    for name in ("LETSGO_SLACK_URL", "LETSGO_SLACK_NOTIFY", "LETSGO_SLACK_STRIPE_EVENTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(turns, "_budget", turns.Budget())
    server = SlackServer()
    settings.LETSGO_SLACK_URL = server.url
    yield server
    server.close()


@pytest.fixture(name="impatient")
def impatient_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for Slack for a moment only."""
    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(0.2))


def work_off(**options: Any) -> None:
    """Handle all that is due, and what that enqueues, in this process."""
    call_command("runworker", until_empty=True, stderr=io.StringIO(), **options)
    # What came in the last millisecond may not be due yet by the worker's idea of the database's clock.
    if Message.objects.filter(visible_at__lte=timezone.now()).exists():
        call_command("runworker", until_empty=True, stderr=io.StringIO(), **options)


def closed_port() -> int:
    """Return a port of this machine where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port

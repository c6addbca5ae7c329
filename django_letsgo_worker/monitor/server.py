"""The small web server of a monitored process: GET and HEAD of the pages that it is given, nothing else."""

from __future__ import annotations

import http.server
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

logger = logging.getLogger("django_letsgo_worker.monitor")

PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = PLAIN


# Given the Accept header.
Page = Callable[[str], Answer]


class Server:
    """A server that listens once it is made (OSError when it cannot), and serves from start() to stop()."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = type("_Listening", (_Listening,), {"address_family": family})
        self._server: _Listening = listening(address[:2], _Handler)
        self._server.pages = pages
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="letsgo-monitor",
            daemon=True,
        )

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(timeout=5.0)
        self._server.server_close()


class _Listening(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    # A slow reader does not hold up the end of the process.
    daemon_threads = True
    block_on_close = False
    pages: Mapping[str, Page]

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("A request to the monitor was cut off.", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Listening
    # Seconds that a request may take to arrive.
    timeout = 10

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def __getattr__(self, name: str) -> Any:
        # The base class looks for do_<METHOD>, and knows no answer but 501 when there is none.
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def version_string(self) -> str:
        return "letsgo"

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def _answer(self, *, with_body: bool) -> None:
        page = self.server.pages.get(urlsplit(self.path).path)
        if page is None:
            found = Answer(404, f"Not found; there are {', '.join(self.server.pages)}.\n".encode())
        else:
            try:
                found = page(self.headers.get("Accept", ""))
            except Exception:
                logger.exception("The monitor could not answer %s.", self.path)
                found = Answer(500, b"Internal error; see the log.\n")
        self._send(found, with_body=with_body)

    def _refuse(self) -> None:
        self._send(Answer(405, b"Only GET and HEAD are allowed.\n"), with_body=True, Allow="GET, HEAD")

    def _send(self, answer: Answer, *, with_body: bool, **headers: str) -> None:
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

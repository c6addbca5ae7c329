"""The option --monitor of both long-running commands, which say what is watched."""

from __future__ import annotations

import argparse
import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from django.core.management.base import CommandError, CommandParser, OutputWrapper

from ..conf import settings
from .health import Watchable
from .multiprocess import Reporter

if TYPE_CHECKING:
    from .monitor import Monitor

LOOPBACK = "127.0.0.1"
HIGHEST_PORT = 65535


class Watch(Protocol):
    """The monitor as a command sees it: called with each worker, scheduler or supervisor that it runs."""

    @property
    def arguments(self) -> Sequence[str]:
        """The arguments for further processes of this command."""

    def __call__(self, subject: Watchable) -> None: ...


class Unmonitored:
    """The watch of a command without --monitor: it does nothing."""

    arguments: tuple[str, ...] = ()

    def __call__(self, subject: Watchable) -> None:
        pass


def address(text: str) -> tuple[str, int]:
    """Read [HOST:]PORT, an IPv6 host in brackets; without a host only this machine is served."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]:|([^:\[\]/\s]+):)?([0-9]{1,5})", text, re.ASCII)
    if match is None or int(match[3]) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"[HOST:]PORT with a port from 0 to {HIGHEST_PORT}, not {text!r}")
    return match[1] or match[2] or LOOPBACK, int(match[3])


def add_arguments(parser: CommandParser, *, has_children: bool = False) -> None:
    parser.add_argument(
        "--monitor",
        type=address,
        metavar="[HOST:]PORT",
        help="serve /metrics, /healthz and /readyz there (on this machine only, unless a host is given)",
    )
    if has_children:
        parser.add_argument("--monitor-into", type=Path, help=argparse.SUPPRESS)


@contextlib.contextmanager
def monitored(options: dict[str, Any], stop: threading.Event, stderr: OutputWrapper) -> Iterator[Watch]:
    """Monitor what the command passes to the yielded Watch, as the options say."""
    if options.get("monitor_into") is not None:
        monitor: Reporter | Monitor = Reporter(options["monitor_into"])
    elif options.get("monitor") is not None:
        monitor = _monitor(options, stop)
    else:
        yield Unmonitored()
        return
    monitor.start()
    try:
        if monitor.url:
            # Not an error, although it goes where errors go.
            stderr.write(f"Monitor: {monitor.url}/metrics, /healthz and /readyz.", style_func=str)
        yield monitor
    finally:
        monitor.stop()


def _monitor(options: dict[str, Any], stop: threading.Event) -> Monitor:
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise CommandError(
            "--monitor needs prometheus-client: python -m pip install 'django-letsgo-worker[monitor]'."
        ) from None
    from .monitor import Monitor

    host, port = _given(options["monitor"])
    parent = options.get("processes", 1) > 1
    return Monitor(host, port, using=settings().database, stop=stop, parent=parent)


def _given(asked: Any) -> tuple[str, int]:
    """Return the address, which call_command() may have left as text."""
    if isinstance(asked, tuple):
        return asked[0], asked[1]
    try:
        return address(str(asked))
    except argparse.ArgumentTypeError as error:
        raise CommandError(f"--monitor takes {error}.") from None

"""The line to a database server, as the operating system sees it."""

from __future__ import annotations

import contextlib
import os
import socket


def cut(descriptor: int) -> None:
    """Shut a connected socket down for both sides; safe from any thread, unlike closing it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)

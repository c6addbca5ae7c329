"""A site that enqueues all the time, run by `manage.py shell -c`.

It writes a line for each message that it committed, and for each that it took back: an account that knows
nothing of what workers did.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path
from typing import Any

from django.db import transaction

from django_letsgo_worker import enqueue
from django_letsgo_worker.errors import DuplicateMessage

# Messages a second: enough for each host to hold some at any moment.
RATE = 25.0
# So long do slow handlers take: longer than anybody needs to find out who holds what, and pull a plug.
SLOW_SECONDS = 3.0
DELAY_SECONDS = 2.0
KEYS = 3


class TakenBack(Exception):
    """Rolls back what was enqueued."""


def plain(n: int) -> None:
    enqueue("work:note", {"n": n})


def slow_plain(n: int) -> None:
    enqueue("work:note", {"n": n, "linger": SLOW_SECONDS})


def atomic(n: int) -> None:
    enqueue("work:effect", {"n": n, "linger": 0.01})


def slow_atomic(n: int) -> None:
    enqueue("work:effect", {"n": n, "linger": SLOW_SECONDS})


def delayed(n: int) -> None:
    enqueue("work:note", {"n": n}, delay=DELAY_SECONDS)


def unique(n: int) -> None:
    # Delayed, so that it has living twins to meet.
    enqueue("work:note", {"n": n}, delay=1, unique_key=f"key {n % KEYS}", on_conflict="raise")


def taken_back(n: int) -> None:
    with transaction.atomic():
        enqueue("work:note", {"n": n})
        raise TakenBack


KINDS: tuple[Callable[[int], None], ...] = (
    plain, atomic, delayed, slow_plain, unique, atomic, plain, taken_back, atomic, slow_atomic,
)  # fmt: skip


def run(account: str) -> None:
    """Enqueue until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.set())
    with Path(account).open("w", buffering=1) as lines:
        for n, kind in zip(count(1), cycle(KINDS), strict=False):
            if stop.wait(1 / RATE):
                return
            lines.write(f"{json.dumps(_enqueued(kind, n))}\n")


def _enqueued(kind: Callable[[int], None], n: int) -> dict[str, Any]:
    try:
        kind(n)
    except (TakenBack, DuplicateMessage) as error:
        return {"n": n, "kind": kind.__name__, "refused": type(error).__name__}
    return {"n": n, "kind": kind.__name__, "refused": ""}

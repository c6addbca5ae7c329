"""The process that enqueues: it connects as one contestant and obeys verbs, a line of JSON each.

    python -m tests.benchmarks.client ENGINE CONTESTANT URL

Each answer is a line of JSON on stdout. It measures its own loops, so no pipe is part of a figure.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from .contestants import contestant
from .contestants.base import Contestant, Payload
from .tallies import Tallies

CHUNK = 1_000
# Under load and at a constant depth, this often it looks how much is wanted.
STEP_SECONDS = 0.02
PATIENCE = 60.0


def payload(n: int) -> Payload:
    """A small message: some 70 bytes."""
    return {"n": n, "order": f"2026-{n:09}", "note": "leave it with the neighbours"}


class Payloads:
    """Payloads until the time is up; `number` says how many were taken."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.number = 0

    def __iter__(self) -> Iterator[Payload]:
        while time.monotonic() < self.end:
            self.number += 1
            yield payload(self.number)


class Client:
    """The verbs; each returns what is answered."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.tallies = Tallies(Path(os.environ["LETSGO_BENCH_TALLIES"]))

    def install(self) -> dict[str, Any]:
        self.contestant.install()
        return {}

    def one_by_one(self, seconds: float) -> dict[str, Any]:
        self.contestant.enqueue("noop", [payload(n) for n in range(10)])  # connections, caches, statements

        def loop() -> int:
            payloads = Payloads(seconds)
            self.contestant.enqueue("noop", payloads)
            return payloads.number

        return measured(loop)

    def in_bulk(self, seconds: float) -> dict[str, Any]:
        chunk = [payload(n) for n in range(CHUNK)]
        self.contestant.enqueue_many("noop", chunk[:10])

        def loop() -> int:
            number, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                self.contestant.enqueue_many("noop", chunk)
                number += CHUNK
            return number

        return measured(loop)

    def fill(self, number: int, handler: str, queues: int = 0) -> dict[str, Any]:
        """Enqueue so many, in turn into as many queues as are said."""
        for start in range(0, number, CHUNK):
            chunk = [payload(n) for n in range(start, min(start + CHUNK, number))]
            if queues:
                self.contestant.enqueue_across(queues, handler, chunk)
            else:
                self.contestant.enqueue_many(handler, chunk)
        return {"filled_at": time.monotonic_ns()}

    def archive(self, number: int) -> dict[str, Any]:
        self.contestant.archive(number)
        return {}

    def archive_by_age(self, number: int) -> dict[str, Any]:
        self.contestant.archive_by_age(number)
        return {}

    def prune(self) -> dict[str, Any]:
        return measured(self.contestant.prune)

    def schedule(self, number: int, due: str) -> dict[str, Any]:
        self.contestant.schedule(number, datetime.fromisoformat(due))
        return {}

    def keep_waiting(self, depth: int, seconds: float) -> dict[str, Any]:
        """Keep so many messages waiting while a worker takes them away."""
        begun, enqueued = time.monotonic_ns(), depth
        while time.monotonic_ns() - begun < seconds * 1e9:
            if enqueued - self.tallies.handled() < depth:
                self.contestant.enqueue_many("noop", [payload(n) for n in range(CHUNK)])
                enqueued += CHUNK
            else:
                time.sleep(0.002)
        return {"begun": begun, "ended": time.monotonic_ns(), "enqueued": enqueued}

    def offer(self, per_second: int, seconds: float) -> dict[str, Any]:
        """Enqueue at a constant rate, in small groups."""
        begun, enqueued = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            if due := int(passed * per_second) - enqueued:
                self.contestant.enqueue_many("noop", [payload(n) for n in range(due)])
                enqueued += due
            time.sleep(STEP_SECONDS)
        return {"enqueued": enqueued}

    def ping(self, number: int, pause: float) -> dict[str, Any]:
        """Send one message after the other, each to a worker that has had nothing to do for a while."""
        for sent in range(number):
            self._send(sent)
            # Not in step with anybody's polling.
            time.sleep(pause * random.uniform(1.0, 2.0))
        return {}

    def _send(self, sent: int) -> None:
        self.contestant.enqueue("ping", [{"sent": time.monotonic_ns()}])
        give_up = time.monotonic() + PATIENCE
        while self.tallies.picked_up() <= sent:
            if time.monotonic() > give_up:
                raise TimeoutError(f"Message {sent + 1} was not picked up within {PATIENCE:g} s.")
            time.sleep(0.002)

    def ping_under_load(self, number: int, per_second: int) -> dict[str, Any]:
        """Send messages at a constant rate, whether or not those before them are done."""
        begun = time.monotonic()
        for sent in range(number):
            time.sleep(max(0.0, begun + sent / per_second - time.monotonic()))
            self.contestant.enqueue("ping", [{"sent": time.monotonic_ns()}])
        return {"seconds": time.monotonic() - begun}


def measured(loop: Callable[[], int]) -> dict[str, Any]:
    """Run a loop that returns how many messages it enqueued."""
    cpu, begun = time.process_time(), time.monotonic()
    number = loop()
    seconds = time.monotonic() - begun
    return {
        "number": number,
        "rate": number / seconds,
        "cpu_us": (time.process_time() - cpu) / max(number, 1) * 1e6,
    }


def main(engine: str, name: str, url: str) -> None:
    one = contestant(engine, name)
    one.connect(url)
    client = Client(one)
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        print(json.dumps(getattr(client, verb)(**arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

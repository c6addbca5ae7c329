"""The command behind script/bench: reads the arguments, runs the rounds, writes what came of them.

JSON lines go to stdout, progress and tables to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import machine, report, rounds, stores
from .contestants import AT_HOME, ENGINES, PEERS, Contestant
from .figures import Record
from .scale import FULL, QUICK, Scale
from .workloads import WORKLOADS


def main(arguments: Sequence[str] | None = None) -> int:
    if sys.platform != "linux":
        sys.exit("Linux is needed: CPU and memory are read from /proc.")
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Whatever was started ends with us.
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    options = parse(arguments)
    records = list(read(options.read)) if options.read else list(run(options))
    say("\n" + report.render(records))
    if options.table:
        report.write_into(options.table, records)
    return 1 if any("error" in record for record in records) else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench", description="This app beside peers and raw SQL.")
    add = parser.add_argument
    add("--quick", action="store_true", help="just enough to see that all of it works")
    add("--only", type=chosen([one.name for one in WORKLOADS]), help="the workloads, as enqueue,drain")
    peers = sorted({one.distribution for one in PEERS})
    add("--peers", type=chosen(peers), help="the peers, as a,b; or none")
    add("--engines", type=chosen(ENGINES), default=ENGINES, help="postgres,sqlite")
    add("--rounds", type=int, help="how often everything is measured")
    add("--json", type=Path, help="a file for the JSON lines, too")
    add("--table", type=Path, help="the page whose tables are to be written, docs/explanation/benchmarks.md")
    add("--read", type=Path, help="JSON lines of an earlier run, to be shown without measuring")
    return parser.parse_args(arguments)


def chosen(names: Sequence[str]) -> Any:
    """Return a reader of a,b,c that knows these names, and `none`."""

    def read_names(text: str) -> list[str]:
        found = [] if text == "none" else text.split(",")
        if unknown := [name for name in found if name not in names]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(names)}")
        return found

    return read_names


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Measure; yield first the machine, then each measurement, and print them as they come."""
    scale = QUICK if options.quick else FULL
    if options.rounds:
        scale = dataclasses.replace(scale, rounds=options.rounds)
    with open_file(options.json) as file:
        for record in measure(options, scale):
            line = json.dumps(record)
            print(line, flush=True)
            if file:
                print(line, file=file, flush=True)
            if "error" in record:
                say(record["error"])
            yield record


def measure(options: argparse.Namespace, scale: Scale) -> Iterator[Record]:
    workloads = [one for one in WORKLOADS if options.only is None or one.name in options.only]
    for engine in options.engines:
        wanted = [one for one in AT_HOME + PEERS if one.engine == engine and is_wanted(one, options.peers)]
        left_out = [one for one in wanted if one.missing()]
        for one in left_out:
            say(f"{one} is left out: {', '.join(one.missing())} cannot be imported.")
        there = [one for one in wanted if one not in left_out]
        with (
            tempfile.TemporaryDirectory(prefix="letsgo-bench-") as directory,
            stores.opened(engine, Path(directory)) as store,
        ):
            yield {
                "engine": engine,
                "quick": options.quick,
                "machine": machine.describe(there, getattr(store, "maintenance", None)),
                "left_out": [one.name for one in left_out],
            }
            yield from rounds.measure(store, there, workloads, scale, say)


def is_wanted(one: Contestant, peers: list[str] | None) -> bool:
    return one not in PEERS or peers is None or one.distribution in peers


def read(path: Path) -> Iterator[Record]:
    for line in path.read_text().splitlines():
        yield json.loads(line)


def open_file(path: Path | None) -> Any:
    return path.open("w") if path else contextlib.nullcontext()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

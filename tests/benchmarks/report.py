"""The tables: medians, ratios to raw SQL of the same round, and the goals.

What is generated stands between two markers; the rest of a page is written by people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .contestants import AT_HOME, ENGINES, PEERS
from .figures import Cell, Record, by_round, middle, ratio
from .goals import GOALS
from .workloads import WORKLOADS, Workload

BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
TITLES = {"postgres": "PostgreSQL", "sqlite": "SQLite"}
ABOUT = {
    "enqueue": "Enqueue, one commit each",
    "bulk": "Enqueue in bulk, 1,000 at a time",
    "drain": "Drain, one worker process",
    "drain2": "Drain, two worker processes",
    "atomic": "Drain with atomic handlers, one process",
    "pickup": "From enqueue to the handler's first line, worker idle",
    "load": "From enqueue to the handler's first line, under a light load",
    "backlog": "Drain while so many messages keep waiting",
    "archive": "Drain beside so many archived messages",
    "lanes": "Drain of a backlog spread over so many queues",
    "prune": "Drain while ten million archived messages are pruned",
    "snapshot": "Drain after a minute of load, an old snapshot held meanwhile",
    "idle": "An idle worker",
    "fleet": "A fleet at rest: one worker, and 32 workers beside 8 schedulers",
    "fleet-drain": "A backlog for so many worker processes",
    "schedules": "A crowd of schedules, all due at one moment, one scheduler process",
    "schedules2": "A crowd of schedules, two scheduler processes",
    "schedules-idle": "An idle scheduler",
    "schedules-look": "A scheduler's look at many schedules, none of them due",
}
# Figure, heading, digits after the point.
COLUMNS = {
    "rate": ("messages/s", 0),
    "cpu_us": ("client CPU, us each", 0),
    "p50_ms": ("p50 ms", 1),
    "p95_ms": ("p95 ms", 1),
    "p99_ms": ("p99 ms", 1),
    "woken": ("woken, p95", 0),
    "claim_ms": ("a claim, ms", 2),
    "messages_a_claim": ("messages a claim", 0),
    "connections": ("connections", 0),
    "rate_kept": ("by a drain without pruning", 2),
    "pruned_per_second": ("pruned/s beside it", 0),
    "pruned_by_command_per_second": ("pruned/s by prune()", 0),
    "first_to_last_seconds": ("first to last, s", 2),
    "first_after_ms": ("first after, ms", 0),
    "scheduler_cpu_per_thousand": ("scheduler CPU, s per 1,000", 3),
    "worker_cpu_per_thousand": ("worker CPU, s per 1,000", 3),
    "server_cpu_per_thousand": ("server CPU, s per 1,000", 3),
    "settled_after_ms": ("settled after, ms", 0),
    "look_ms": ("a look, ms", 2),
    "longest_look_ms": ("the longest, ms", 2),
    "left": ("waiting at the end", 0),
    "behind": ("behind after the load", 0),
    "statements_per_minute": ("statements/min", 0),
    "cpu_seconds_per_minute": ("CPU s/min", 2),
    "memory_mb": ("peak memory, MB", 0),
}


def render(records: Sequence[Record]) -> str:
    parts = [*machines(records), goals(records), *tables(records), contestants(records), failures(records)]
    return "\n\n".join(part for part in parts if part)


def write_into(page: Path, records: Sequence[Record]) -> None:
    """Replace what stands between the markers of a page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no line {BEGIN}, followed by a line {END}.")
    page.write_text(f"{before}{begin}\n\n{render(records)}\n\n{end}{after}")


def machines(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        if "machine" not in record:
            continue
        facts = record["machine"]
        if facts["postgres"]:
            engine = "PostgreSQL: " + pairs(facts["postgres"])
        else:
            engine = f"SQLite {facts['sqlite']}"
        sentences = [
            "**Quick: the figures mean nothing.**" if record["quick"] else "",
            f"{TITLES[record['engine']]}: {facts['cpu']}, {facts['memory_gb']} GB, {facts['kernel']},",
            f"{facts['flushes_per_second']:,} flushes/s, load {facts['load_average']:.1f} at the start;",
            f"Python {facts['python']}; {engine}; {pairs(facts['versions'])}.",
            f"Left out: {', '.join(record['left_out'])}." if record["left_out"] else "",
        ]
        yield " ".join(sentence for sentence in sentences if sentence)


def pairs(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def failures(records: Sequence[Record]) -> str:
    found = [f"- {place(one)}: {one['error'].splitlines()[0]}" for one in records if "error" in one]
    return "\n".join(["### What failed", "", *found]) if found else ""


def place(record: Record) -> str:
    what = [TITLES[record["engine"]], record["workload"], record["case"], record["contestant"]]
    return f"{', '.join(part for part in what if part)}, round {record['round']}"


def contestants(records: Sequence[Record]) -> str:
    """Return what each promises and how it was set up."""
    seen = {(record["engine"], record["contestant"]) for record in records if "contestant" in record}
    rows = [
        {
            "contestant": f"{one.name} ({TITLES[one.engine]})",
            "when a process dies": one.guarantee,
            "set up": one.configuration,
        }
        for one in AT_HOME + PEERS
        if (one.engine, one.name) in seen
    ]
    return (
        "### Contestants\n\n" + table(["contestant", "when a process dies", "set up"], rows) if rows else ""
    )


def tables(records: Sequence[Record]) -> Iterator[str]:
    for engine in ENGINES:
        for workload in WORKLOADS:
            rows = list(table_rows(records, engine, workload))
            if rows:
                yield f"### {TITLES[engine]}: {ABOUT[workload.name]}\n\n" + table(columns_of(rows), rows)


Row = dict[str, str]


def table_rows(records: Sequence[Record], engine: str, workload: Workload) -> Iterator[Row]:
    for case in workload.cases:
        for one in AT_HOME + PEERS:
            cell = Cell(engine, workload.name, one.name, case)
            if one.engine == engine and any(by_round(records, cell, figure) for figure in COLUMNS):
                yield row(records, cell, workload.ceiling or one.ceiling)


def row(records: Sequence[Record], cell: Cell, ceiling: str) -> Row:
    found = {"": f"{cell.contestant}, {cell.case}" if cell.case else cell.contestant}
    for figure, (heading, digits) in COLUMNS.items():
        value = middle(records, cell, figure)
        if value is None:
            continue
        values = by_round(records, cell, figure).values()
        spread = f" ({min(values):,.{digits}f}-{max(values):,.{digits}f})" if len(values) > 1 else ""
        found[heading] = f"{value:,.{digits}f}{spread if figure == 'rate' else ''}"
        if figure == "rate":
            by_raw = ratio(records, cell, replace(cell, contestant=ceiling), figure)
            found["by raw"] = "-" if by_raw is None else f"{by_raw:.2f}"
    return found


def columns_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(heading for row in rows for heading in row))


def table(headings: Sequence[str], rows: Iterable[Row]) -> str:
    lines = [headings, ["---"] * len(headings), *([row.get(h, "-") for h in headings] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def goals(records: Sequence[Record]) -> str:
    rows = []
    for goal in GOALS:
        value = goal.value(records)
        if value is not None:
            wanted = f"{'at most' if goal.is_ceiling else 'at least'} {goal.limit:g}"
            reached = "yes" if goal.is_reached(value) else "**no**"
            rows.append({"goal": goal.what, "wanted": wanted, "measured": f"{value:.3g}", "reached": reached})
    return "### Goals\n\n" + table(["goal", "wanted", "measured", "reached"], rows) if rows else ""

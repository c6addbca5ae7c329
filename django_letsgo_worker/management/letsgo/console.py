"""Where output goes: data to stdout, all else to stderr; through rich on a terminal, plainly elsewhere.

What is printed is decided by the nouns.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from .formats import as_json, as_text, printable

_STYLES = {
    "on": "green", "living": "green", "succeeded": "green", "running": "cyan", "paused": "yellow",
    "silent": "red", "broken": "red", "dead": "red", "off": "dim", "stopped": "dim", "-": "dim",
}  # fmt: skip


class Console:
    """The two streams of one call, and how they may be used."""

    def __init__(self, stdout: OutputWrapper, stderr: OutputWrapper, options: Mapping[str, Any]) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.as_json: bool = options.get("json", False)
        self.verbosity: int = options["verbosity"]
        self.interactive: bool = options.get("interactive", True)
        self._no_color: bool = options["no_color"]
        self._force_color: bool = options["force_color"]

    # -- data ------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Print one line of data."""
        self.stdout.write(self._encodable(text))

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        self.stdout.write(as_json(value))

    @property
    def is_terminal(self) -> bool:
        """Whether data goes to people's eyes, where it can be shown anew."""
        return self.stdout.isatty()

    def clear(self) -> None:
        """Empty the terminal, so that what is printed next stands in place of what was."""
        self.stdout.write("\x1b[2J\x1b[H", ending="")

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print rows: all that is known of them as JSON, or some columns as a table."""
        if self.as_json:
            self.document(rows)
        elif rows:
            self.table(rows, columns)
        else:
            self.say("There are none.")

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        cells = [[as_text(row[column]) for column in columns] for row in rows]
        headings = [column.replace("_", " ") for column in columns]
        numbers = [all(_is_number(row[column]) for row in rows) for column in columns]
        rich = self._rich()
        if rich is None:
            for line in _aligned([headings, *cells], numbers):
                self.line(line)
            return
        look = {"box": rich("box").SIMPLE_HEAD, "show_edge": False, "padding": (0, 1, 0, 0)}
        table = rich("table").Table(header_style="bold", **look)
        for heading, is_number in zip(headings, numbers, strict=True):
            side = "right" if is_number else "left"
            table.add_column(heading, justify=side, overflow="fold")
        for row in cells:
            table.add_row(*(rich("text").Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        self._console(rich, self.stdout).print(table)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print labels and what belongs to them, a line each."""
        widest = max(map(len, facts), default=0) + 2
        for label, text in facts.items():
            self.line(f"{label + ':':<{widest}}{text}")

    # -- chatter ---------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell people something; programs that read stdout don't see it."""
        if self.verbosity:
            # Not an error, although it goes where errors go.
            self.stderr.write(self._encodable(printable(text), self.stderr), style_func=str)

    def confirm(self, what: str) -> None:
        """Ask whether to go on, unless told not to; CommandError when not, or where nobody can answer."""
        if not self.interactive:
            return
        if sys.stdin is None or not sys.stdin.isatty() or not self.stderr.isatty():
            raise CommandError(
                f"{what} needs --noinput where there is no terminal to ask; nothing was changed."
            )
        question = self._encodable(f"{what}: are you sure? [y/N] ", self.stderr)
        self.stderr.write(question, style_func=str, ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was changed.")

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show how far long work is, on a terminal; yields what is to be called with each step's size."""
        if not self.verbosity or not self.stderr.isatty():
            yield lambda _count: None
            return
        rich = self._rich(self.stderr)
        if rich is None:
            yield self._counter(what)
            self.stderr.write("", style_func=str)
            return
        bars = rich("progress")
        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
        )
        with bars.Progress(*columns, console=self._console(rich, self.stderr), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count: bar.advance(task, count)

    def _counter(self, what: str) -> Callable[[int], None]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.stderr.write(f"\r{what}: {done}", style_func=str, ending="")
            self.stderr.flush()

        return advance

    # -- how -------------------------------------------------------------------------------------------

    def _rich(self, stream: OutputWrapper | None = None) -> Callable[[str], Any] | None:
        """Return what finds modules of rich, or None where plain text is right."""
        if not (stream or self.stdout).isatty() and not self._force_color:
            return None
        try:
            importlib.import_module("rich")
        except ImportError:
            return None
        return lambda name: importlib.import_module(f"rich.{name}")

    def _console(self, rich: Callable[[str], Any], stream: OutputWrapper) -> Any:
        # Django's wrapper ends each write with a line feed, which a bar that moves does without.
        return rich("console").Console(
            file=getattr(stream, "_out", stream),
            force_terminal=self._force_color or None,
            no_color=self._no_color or None,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def _encodable(self, text: str, stream: OutputWrapper | None = None) -> str:
        encoding = getattr(stream or self.stdout, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _aligned(rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> Iterator[str]:
    """Yield rows as lines whose columns stand below each other; numbers end in line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numbers, strict=True)
        )
        yield "  ".join(cells).rstrip()

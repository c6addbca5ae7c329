"""Output: data to stdout, everything else to stderr; by rich on a terminal, as plain text elsewhere.

The nouns decide what is printed.
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
    """The two output streams of one call."""

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
        """Whether data goes to a terminal, where it can be redrawn."""
        return self.stdout.isatty()

    def clear(self) -> None:
        """Clear the terminal, so that the next output replaces the last."""
        self.stdout.write("\x1b[2J\x1b[H", ending="")

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print rows: all their facts as JSON, or some columns as a table."""
        if self.as_json:
            self.document(rows)
        elif rows:
            self.table(rows, columns)
        else:
            self.say("None found.")

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
        """Print labels with their values, one per line."""
        widest = max(map(len, facts), default=0) + 2
        for label, text in facts.items():
            self.line(f"{label + ':':<{widest}}{text}")

    # -- chatter ---------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Print a remark to stderr, where programs that read stdout don't see it."""
        if self.verbosity:
            # Printed to stderr, but not an error.
            self.stderr.write(self._encodable(printable(text), self.stderr), style_func=str)

    def confirm(self, what: str) -> None:
        """Ask for confirmation unless --noinput; CommandError if it is refused or cannot be asked for."""
        if not self.interactive:
            return
        if sys.stdin is None or not sys.stdin.isatty() or not self.stderr.isatty():
            raise CommandError(f"{what} needs --noinput if there is no terminal to ask; nothing was changed.")
        question = self._encodable(f"{what}: are you sure? [y/N] ", self.stderr)
        self.stderr.write(question, style_func=str, ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was changed.")

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show the progress of long work on a terminal; yields a function to call with each step's size."""
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

    # -- styling ---------------------------------------------------------------------------------------

    def _rich(self, stream: OutputWrapper | None = None) -> Callable[[str], Any] | None:
        """Return an importer of rich's modules, or None if plain text is wanted."""
        if not (stream or self.stdout).isatty() and not self._force_color:
            return None
        try:
            importlib.import_module("rich")
        except ImportError:
            return None
        return lambda name: importlib.import_module(f"rich.{name}")

    def _console(self, rich: Callable[[str], Any], stream: OutputWrapper) -> Any:
        # Not through Django's wrapper: it ends each write with a line feed, which breaks a moving bar.
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
    """Yield rows as lines with aligned columns; numbers are aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numbers, strict=True)
        )
        yield "  ".join(cells).rstrip()

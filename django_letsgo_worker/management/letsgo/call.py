"""One call of `letsgo`: its options, output and database; and the parsers of nouns and verbs.

The verbs themselves are in the nouns' modules.
"""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.core.management.base import CommandParser

from ...engines import Engine
from ...inspection import Snapshot
from ...validation import check_seconds
from .. import databases
from .console import Console

# Django takes these options only before the noun; people write them after the verb, so take them there, too.
_EVERYWHERE: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("-v", "--verbosity"), {"type": int, "choices": [0, 1, 2, 3]}),
    (("--settings",), {}),
    (("--pythonpath",), {}),
    (("--traceback",), {"action": "store_true"}),
    (("--no-color",), {"action": "store_true"}),
    (("--force-color",), {"action": "store_true"}),
    (("--skip-checks",), {"action": "store_true"}),
)


@dataclass
class Call:
    """The argument of a verb: the options of its parser, the output and the rows."""

    # A payload may be among them.
    options: dict[str, Any] = field(repr=False)
    out: Console
    # Under call_command the signals belong to the caller.
    is_from_command_line: bool = False

    def __getitem__(self, option: str) -> Any:
        return self.options[option]

    @cached_property
    def snapshot(self) -> Snapshot:
        """The rows that this call shows, each part read once."""
        return Snapshot()

    @property
    def using(self) -> str:
        return self.snapshot.using

    @property
    def engine(self) -> Engine:
        return self.snapshot.engine

    @property
    def clock(self) -> datetime:
        return self.snapshot.now

    def after(self, length: timedelta) -> datetime:
        """Return the time after this long; InvalidMessage if it is beyond the calendar."""
        return self.clock + timedelta(seconds=check_seconds("a duration", length))

    @property
    def by(self) -> str:
        """The caller's name in the operating system."""
        try:
            return getpass.getuser()[:150]
        except (OSError, KeyError, ImportError):
            return ""


class Verbs:
    """The verbs of a noun, or of `letsgo` itself."""

    def __init__(self, parser: CommandParser, dest: str) -> None:
        self._parsers = parser.add_subparsers(dest=dest, metavar=dest.upper(), required=True)

    def add_noun(self, name: str, help: str) -> Verbs:
        return Verbs(self._parsers.add_parser(name, help=help, description=help), "verb")

    def add(
        self,
        name: str,
        run: Callable[[Call], None],
        help: str,
        *,
        destroys: bool = False,
        prints: bool = True,
    ) -> CommandParser:
        """Add a verb; one that `prints` has --json, one that `destroys` something has --noinput."""
        parser: CommandParser = self._parsers.add_parser(name, help=help, description=help)
        parser.set_defaults(run=run)
        if prints:
            parser.add_argument(
                "--json", action="store_true", help="print JSON: times in UTC, durations in seconds"
            )
        if destroys:
            parser.add_argument(
                "--noinput",
                "--no-input",
                action="store_false",
                dest="interactive",
                help="do not ask for confirmation",
            )
        # Before the noun, too: what is said there stands unless the verb says otherwise.
        databases.add_argument(parser, default=argparse.SUPPRESS)
        for flags, details in _EVERYWHERE:
            parser.add_argument(*flags, **details, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return parser

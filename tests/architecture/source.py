"""The package as source text: its files, what they import, how long they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

PACKAGE = ROOT / "django_letsgo_worker"

GROUND = (
    "backoff",
    "conf",
    "delivery",
    "errors",
    "hints",
    "outcomes",
    "validation",
    "planning",
    "recurrence",
    "registry",
    "signals",
)
ROWS = ("models", "engines", "messages", "processes", "queues", "schedules", "maintenance")


def modules(*floors: str) -> list[Path]:
    """Return the files of these modules and packages (of all, migrations excepted, when none is named)."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)
    return [path for path in paths if not floors or place(path).removesuffix(".py").split("/")[0] in floors]


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imported_names(source: str) -> Iterator[str]:
    """Yield the dotted names that the source imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def used_names(source: str) -> Iterator[str]:
    """Yield the dotted names of attributes that the source uses, as in threading.Thread."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def reaches(name: str, *forbidden: str) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in forbidden)


def long_functions(source: str, most: int) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of each function longer than `most`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > most:
                yield node.name, lines

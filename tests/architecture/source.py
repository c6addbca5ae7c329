"""The package as source text: its files and floors, what they import, how long they are."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import ROOT

PACKAGE = ROOT / "django_letsgo_worker"

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS: list[dict[str, Any]] = PYPROJECT["tool"]["importlinter"]["contracts"]
# The names of each floor, the highest floor first.
FLOORS: list[list[str]] = [
    re.findall(r"\w+", layer)
    for contract in CONTRACTS
    if contract.get("exhaustive")
    for layer in contract["layers"]
]


def floor(name: str) -> int:
    """Return which of FLOORS a module or package of ours stands on."""
    return next(number for number, names in enumerate(FLOORS) if name in names)


def below(name: str) -> list[str]:
    """Return all that stands on a lower floor than this module or package."""
    return [lower for names in FLOORS[floor(name) + 1 :] for lower in names]


def modules(*names: str) -> list[Path]:
    """Return the files of these modules and packages (of all, migrations excepted, when none is named)."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)
    return [path for path in paths if not names or place(path).removesuffix(".py").split("/")[0] in names]


def dotted(path: Path) -> str:
    """Return the name by which the module of this file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def inner_modules(package: str) -> list[str]:
    """Return the dotted names of a package's modules and packages, those of packages inside it included."""
    return [name for name in map(dotted, modules()) if name.startswith(f"{package}.")]


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

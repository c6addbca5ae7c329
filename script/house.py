"""Counts the house: the sizes of modules and functions, who imports whom, and who names which column.

script/house says how it is called. Whether a figure is too large is for tests/architecture to say.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import grimp

ROOT = Path(__file__).resolve().parent.parent
NAME = "django_letsgo_worker"
SMALL = 60
TABLES = ("Message", "ScheduledJob")


def main() -> None:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    for line in figures(root):
        print(line)


def figures(root: Path) -> Iterator[str]:
    paths = sorted((root / NAME).rglob("*.py"))
    yield from sizes(root / NAME, [path for path in paths if path.stat().st_size])
    graph = read_imports(root)
    yield from importers(root, graph)
    yield from arrows(root, graph)
    yield from columns(root / NAME, paths)


# -- sizes -------------------------------------------------------------------------------------------------


def sizes(package: Path, paths: list[Path]) -> Iterator[str]:
    """Yield the table of sizes; files without a line are left out."""
    whole = [len(path.read_text().splitlines()) for path in paths]
    long = [n for path in paths for n in function_lengths(ast.parse(path.read_text()))]
    blank, comments, docs, header = (sum(part) for part in zip(*map(parts, paths), strict=True))
    total = sum(whole)
    row = {
        "files": f"{len(paths)}",
        "lines": f"{total:,}",
        "code": f"{total - blank - comments - docs:,}",
        "lines a file: median/p95/max": " / ".join(f"{n:g}" for n in spread(whole)),
        "functions: median/p95/max": " / ".join(f"{n:g}" for n in spread(long)),
        "comments %": f"{100 * comments / total:.1f}",
        "docstrings %": f"{100 * docs / total:.1f}",
        "header %": f"{100 * header / total:.1f}",
        "depth": f"{max(len(path.relative_to(package).parts) for path in paths) - 1}",
    }
    yield from (f"| {' | '.join(row)} |", "|---" * len(row) + "|", f"| {' | '.join(row.values())} |", "")


def spread(numbers: list[int]) -> tuple[float, float, float]:
    ordered = sorted(numbers)
    return median(ordered), ordered[int(0.95 * (len(ordered) - 1))], ordered[-1]


def function_lengths(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def parts(path: Path) -> tuple[int, int, int, int]:
    """Count the lines that are blank, comments alone, docstrings, and the header of a module.

    A header is what stands before the first statement: docstring, imports, logger and `__all__`.
    """
    text, docs = path.read_text().splitlines(), set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            docs |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    with path.open("rb") as file:
        comments = {t.start[0] for t in tokenize.tokenize(file.readline) if t.type == tokenize.COMMENT}
    alone = [n for n in comments if text[n - 1].lstrip().startswith("#")]
    blank = [n for n, line in enumerate(text, 1) if not line.strip() and n not in docs]
    first = next((node.lineno for node in tree.body if not in_the_header(node)), len(text) + 1)
    return len(blank), len(alone), len(docs), first - 1


def in_the_header(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in ("logger", "log", "__all__")
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.Expr))


# -- imports -----------------------------------------------------------------------------------------------


def read_imports(root: Path) -> grimp.ImportGraph:
    sys.path.insert(0, str(root))
    return grimp.build_graph(NAME, cache_dir=None)


def file_of(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def single_importers(graph: grimp.ImportGraph) -> dict[str, str]:
    """Return the modules that one other imports, with that one; faces and migrations excepted."""
    found = {module: graph.find_modules_that_directly_import(module) for module in sorted(graph.modules)}
    return {
        module: next(iter(by))
        for module, by in found.items()
        if len(by) == 1 and ".migrations." not in module and not graph.find_children(module)
    }


def small_with_one_importer(root: Path, graph: grimp.ImportGraph) -> dict[str, str]:
    """Return those of them that are shorter than `SMALL` lines, by their paths inside the package."""
    found = {file_of(root, module): importer for module, importer in single_importers(graph).items()}
    return {
        path.relative_to(root / NAME).as_posix(): importer.partition(".")[2]
        for path, importer in found.items()
        if len(path.read_text().splitlines()) < SMALL
    }


def importers(root: Path, graph: grimp.ImportGraph) -> Iterator[str]:
    small = small_with_one_importer(root, graph)
    yield f"Modules with one importer: {len(single_importers(graph))}"
    for module, by in single_importers(graph).items():
        yield f"  {module.partition('.')[2]}  <- {by.partition('.')[2]}"
    yield f"Of them under {SMALL} lines: {len(small)}"
    yield from (f"  {path}" for path in small)


def arrows(root: Path, graph: grimp.ImportGraph) -> Iterator[str]:
    """Yield how many arrows go between rooms, which go up the floors, and what would break each circle."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("exhaustive"))
    floors = {name: floor for floor, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    drawn = {
        (by.split(".")[1], of.split(".")[1])
        for of in graph.modules - {NAME}
        for by in graph.find_modules_that_directly_import(of) - {NAME}
        if by.split(".")[1] != of.split(".")[1]
    }
    up = sorted((by, of) for by, of in drawn if floors[by] > floors[of])
    circles = {pair for module in graph.modules for pair in graph.nominate_cycle_breakers(module)}
    yield f"Floors: {len(layers)}, arrows: {len(drawn)}, arrows up: {len(up)}, circles: {len(circles)}"
    yield from (f"  {by} -> {of}" for by, of in [*up, *sorted(circles)])


# -- columns -----------------------------------------------------------------------------------------------


def columns(package: Path, paths: Iterable[Path]) -> Iterator[str]:
    texts = [path.read_text() for path in paths if "migrations" not in path.parts]
    classes = {
        node.name: node
        for path in (package / "models").glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    for table in TABLES:
        yield f"Files that name a column of {table}:"
        counts = {
            name: sum(bool(re.search(rf"\b{name}\b", t)) for t in texts)
            for name in columns_of(table, classes)
        }
        ranked = sorted(counts.items(), key=lambda pair: -pair[1])
        yield "  " + " · ".join(f"{name} {count}" for name, count in ranked)


def columns_of(table: str, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    """Yield the columns of a model, those of its bases first."""
    for base in classes[table].bases:
        if ast.unparse(base) in classes:
            yield from columns_of(ast.unparse(base), classes)
    for line in classes[table].body:
        if isinstance(line, ast.Assign) and re.match(r"[\w.]*Field\(", ast.unparse(line.value)):
            yield ast.unparse(line.targets[0])


if __name__ == "__main__":
    main()

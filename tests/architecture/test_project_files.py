"""The files around the package: workflows, templates, policies, and what they name."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
import yaml
from django.db.migrations.operations import AddIndex, AlterField, RemoveIndex

from django_letsgo_worker import migrations
from tests.architecture.source import PYPROJECT
from tests.support import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PAGES = [
    *ROOT.glob("*.md"),
    ROOT / "tests" / "README.md",
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "deploy").rglob("*.*"),
    *GITHUB.rglob("*.*"),
]
# Runs, test results and environments; none of them is in the repository.
NOT_OURS = {".git", ".venv", ".cache", ".hypothesis", "dist", "build", "node_modules"}
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".css", ".html", ".tpl", ".service", ".editorconfig", ""}

pytestmark = pytest.mark.skipif(not GITHUB.is_dir(), reason="an sdist has no workflows")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield f"{path.name}:{name}", job


def steps() -> list[dict[str, Any]]:
    return [step for _, job in jobs() for step in job.get("steps", ())]


def tracked_files() -> Iterator[Path]:
    for directory, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith("_cache")]
        yield from (Path(directory) / name for name in names)


# -- workflows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [*GITHUB.rglob("*.yml"), ROOT / ".pre-commit-config.yaml"], ids=lambda path: path.name
)
def test_what_the_host_reads_is_yaml_with_something_in_it(path):
    assert isinstance(read(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_the_repository_and_no_more(path):
    assert read(path)["permissions"] == {"contents": "read"}


def test_only_what_publishes_may_prove_who_it_is():
    more = {name: job["permissions"] for name, job in jobs() if "permissions" in job}
    assert more == {
        "release.yml:publish": {"id-token": "write"},
        "pages.yml:publish": {"pages": "write", "id-token": "write"},
    }


def test_each_job_ends():
    assert [name for name, job in jobs() if "uses" not in job and "timeout-minutes" not in job] == []


def test_actions_are_pinned_by_a_major_version_or_a_hash():
    used = [step["uses"] for step in steps() if "uses" in step]
    pinned = re.compile(r"[\w-]+/[\w-]+@(v\d+|release/v\d+|[0-9a-f]{40})")
    assert used
    assert [name for name in used if not pinned.fullmatch(name)] == []


def test_a_checkout_leaves_no_password_behind():
    checkouts = [step for step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_each_script_that_is_called_is_there():
    commands = "\n".join(step.get("run", "") for step in steps())
    called = set(re.findall(r"(?<![\w./])(?:script|\.ci)/[\w.]+", commands))
    assert {"script/coverage", "script/package", ".ci/run", ".ci/tag.py"} <= called
    assert [name for name in called if not (ROOT / name).is_file()] == []
    by_themselves = re.findall(r"^script/\w+", commands, re.MULTILINE)
    assert [name for name in by_themselves if not os.access(ROOT / name, os.X_OK)] == []
    assert [job["uses"] for _, job in jobs() if "uses" in job] == ["./.github/workflows/ci.yml"]


def test_the_matrix_is_that_of_the_script_for_one_machine():
    script = (ROOT / ".ci" / "run").read_text()
    matrix = dict(jobs())["ci.yml:tests"]["strategy"]["matrix"]
    pythons = {row["end"]: row["python"] for row in matrix["include"]}
    assert pythons.keys() == set(matrix["end"]) == {"old", "new"}
    for end, python in pythons.items():
        assert f"{end}=$(python_of {python} " in script
        assert all(f'"{end} {engine}"' in script for engine in matrix["engine"])


def test_other_peoples_packages_are_looked_at_each_week_each_of_them():
    job = dict(jobs())["ci.yml:compatibility"]
    assert "github.event_name == 'schedule'" in job["if"]
    matrix = job["strategy"]["matrix"]
    usage = subprocess.run(["bash", "script/compatibility"], cwd=ROOT, capture_output=True, text=True)
    assert usage.returncode == 2
    named = re.findall(r"^([a-z]+(?:-[a-z0-9.]+)?) {3,}", usage.stderr, re.MULTILINE)
    assert sorted(named) == sorted(matrix["name"]) == sorted(row["name"] for row in matrix["include"])


def test_a_run_leaves_nothing_out_that_no_other_run_has():
    """What "everything" leaves out of a run is there, and a run at each end is whole."""
    script = (ROOT / ".ci" / "run").read_text()
    lists = dict(re.findall(r"^(once|outside|doors)=\((.+)\)$", script, re.MULTILINE))
    assert lists.keys() == {"once", "outside", "doors"}
    for left_out in lists.values():
        for pattern in shlex.split(left_out):
            assert list((ROOT / "tests").glob(pattern)), f"{pattern} is not there"
    everything = script[script.index("everything() {") :]
    assert re.findall(r'^ +(?:old|new) (\S+) "\$\{(\w+)\[@\]', everything, re.MULTILINE) == [
        ("sqlite", "once"),
        ("mariadb", "outside"),
        ("postgres", "doors"),
    ]
    assert re.search(r"^ +old postgres$", everything, re.MULTILINE)
    assert re.search(r"^ +new sqlite$", everything, re.MULTILINE)


@pytest.mark.parametrize("part", ["everythin", "old", "new oracle", "lint demo", "alone", "compatibility"])
def test_a_part_that_there_is_not_is_refused_with_those_that_there_are(part):
    done = subprocess.run(["bash", ".ci/run", *part.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "bash .ci/run old|new ENGINE" in done.stderr


# -- releases ----------------------------------------------------------------------------------------------


def refusal(tag: str, *, source: str = "https://github.com/somebody/somewhere", changelog: str) -> list[str]:
    reasons_against = runpy.run_path(str(ROOT / ".ci" / "tag.py"))["reasons_against"]
    return reasons_against(tag, "0.2.0", {"urls": {"Source": source}}, changelog)


def test_a_tag_is_released_when_version_and_changelog_agree():
    assert refusal("v0.2.0", changelog="# Changelog\n\n## [0.2.0] - 2027-01-31\n") == []


def test_a_tag_is_refused_with_each_reason():
    place = "https://github.com/OWNER/somewhere"
    assert refusal("v0.2.1", source=place, changelog="## [0.2.0] - Unreleased\n") == [
        "The tag is v0.2.1, the version of the package 0.2.0.",
        "CHANGELOG.md has no heading `## [0.2.0] - ` with the day of the release.",
        "[project.urls] still has the placeholder OWNER.",
    ]


def test_migrations_only_add():
    names = [f"{migrations.__name__}.{found.name}" for found in iter_modules(migrations.__path__)]
    modules = [import_module(name) for name in names if "._" not in name]
    operations = [operation for module in modules for operation in module.Migration.operations]
    inner = [one for outer in operations for one in getattr(outer, "database_operations", [outer])]
    # An index may be made anew, with further columns.
    anew = {one.index.name for one in inner if isinstance(one, AddIndex)}
    assert {one.name for one in inner if isinstance(one, RemoveIndex)} <= anew
    # The first gives columns a default in the database, the second changes how PostgreSQL keeps a table. A
    # column may take further values: its rule is made anew, under another name.
    wider = {"AlterColumns", "RunPython"} | {
        type(one).__name__
        for one in inner
        if isinstance(one, AlterField) or getattr(one, "name", "") == "letsgo_schedule_overlap"
    }
    assert {type(one).__name__ for one in inner} - wider <= {
        "CreateModel",
        "AddField",
        "AddIndex",
        "RemoveIndex",
        "AddConstraint",
        # Permissions: no table is changed.
        "AlterModelOptions",
    }


# -- where it lives ----------------------------------------------------------------------------------------


def owners(text: str) -> set[str]:
    return set(re.findall(r"github\.com/([\w.-]+)/django-letsgo-worker", text))


def test_the_owner_stands_in_one_place():
    (owner,) = owners("\n".join(PYPROJECT["project"]["urls"].values()))
    assert owner
    elsewhere = {path.name: owners(path.read_text()) for path in PAGES if path.is_file()}
    assert {name: found for name, found in elsewhere.items() if found} == {}


def test_an_owner_is_found():
    assert owners("see https://github.com/somebody/django-letsgo-worker/issues") == {"somebody"}


@pytest.mark.parametrize(
    ("page", "linked_from"),
    [
        ("SECURITY.md", "README.md"),
        ("CODE_OF_CONDUCT.md", "CONTRIBUTING.md"),
        ("RELEASING.md", "CONTRIBUTING.md"),
        ("docs/howto/upgrading.md", "RELEASING.md"),
        ("docs/howto/upgrading.md", "docs/howto/operating.md"),
    ],
)
def test_a_page_is_linked(page, linked_from):
    target = os.path.relpath(ROOT / page, (ROOT / linked_from).parent)
    assert f"({target})" in (ROOT / linked_from).read_text()


def test_links_between_the_pages_lead_somewhere():
    # Those of docs/ itself are looked through with their snippets.
    pages = [path for path in PAGES if path.suffix == ".md" and path.parent.name != "docs"]
    dead = [
        f"{path.name}: {target}"
        for path in pages
        for target in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert dead == []


def test_a_bug_is_reported_with_what_it_takes_to_find_it():
    fields = {
        field["id"]: field for field in read(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"] if "id" in field
    }
    assert {"engine", "versions", "steps", "log"} <= fields.keys()
    assert "letsgo info --json" in fields["versions"]["attributes"]["description"]


# -- habits ------------------------------------------------------------------------------------------------


def test_pre_commit_would_change_no_file():
    spaces, ends = [], []
    for path in tracked_files():
        if path.suffix in TEXT and path.is_file() and b"\0" not in (content := path.read_bytes()):
            name = path.relative_to(ROOT).as_posix()
            spaces += [name] if re.search(rb"[ \t\r]$", content, re.MULTILINE) else []
            ends += [name] if content and not re.search(rb"[^\n]\n\Z", content) else []
    assert spaces == []
    assert ends == []


def test_coverage_is_a_figure_and_no_threshold():
    assert "fail_under" not in PYPROJECT["tool"]["coverage"]["report"]
    assert PYPROJECT["tool"]["coverage"]["run"]["source"] == ["django_letsgo_worker"]

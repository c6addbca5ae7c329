"""The wheel and the sdist, as a release builds them: they hold all that they should, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from django_letsgo_worker import __version__
from tests.architecture.source import PYPROJECT
from tests.support import ROOT

NAME = "django_letsgo_worker"
IN_THE_SDIST = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
# A builder puts these in, whatever pyproject.toml names.
ALWAYS = {"pyproject.toml", "README.md", "LICENSE", ".gitignore", "PKG-INFO"}
ABOUT_THE_WHEEL = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}

PART_OF_THE_APP = re.compile(
    rf"{NAME}/(?!tests/)([a-z_]+/)*"
    r"(\w+\.py|py\.typed|templates/admin/django_letsgo_worker/\w+\.html"
    r"|static/django_letsgo_worker/\w+\.(css|js)|locale/\w+/LC_MESSAGES/django\.(po|mo))"
)
PART_OF_THE_REPOSITORY = {
    NAME: PART_OF_THE_APP,
    "testproject": re.compile(r"testproject/([a-z_]+/)*(\w+\.py|\w+\.html)"),
    "tests": re.compile(
        r"tests/(README\.md|([a-z0-9_]+/)*(\w+\.py|[\w.]+\.test\.yml|(events|importsources)/[\w.]+\.json))"
    ),
    "deploy": re.compile(
        r"deploy/([a-z-]+/)*([\w.@-]+\.(ya?ml|service|md|json|tpl|txt)|Procfile|Dockerfile(\.dockerignore)?)"
    ),
    "docs": re.compile(
        r"docs/([a-z-]+/)*[\w-]+\.md|docs/images/[a-z-]+\.webp|docs/(conf|_ext/\w+)\.py|docs/_static/\w+\.css"
    ),
    "script": re.compile(r"script/(\w+|\w+\.py)"),
}


def build(source: Path, target: str, into: Path) -> Path:
    """Build a wheel or an sdist of a checkout as a front end does: by the back end, in a process."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = into.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


def in_the_wheel(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def in_the_sdist(sdist: Path) -> set[str]:
    """Return the files of an sdist, without the name of the one folder in which they are."""
    with tarfile.open(sdist) as files:
        return {one.name.partition("/")[2] for one in files.getmembers() if one.isfile()}


def strangers_in_the_wheel(names: set[str]) -> list[str]:
    home = f"{NAME}-{__version__}.dist-info"
    about = {f"{home}/{name}" for name in ABOUT_THE_WHEEL}
    return sorted(name for name in names - about if not PART_OF_THE_APP.fullmatch(name))


def strangers_in_the_sdist(names: set[str]) -> list[str]:
    files = {name for name in IN_THE_SDIST if name not in PART_OF_THE_REPOSITORY}
    rules = [PART_OF_THE_REPOSITORY[name] for name in IN_THE_SDIST if name not in files]
    return sorted(n for n in names - ALWAYS - files if not any(rule.fullmatch(n) for rule in rules))


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_app_its_licence_and_nothing_else(wheel):
    names = in_the_wheel(wheel)

    assert strangers_in_the_wheel(names) == []
    about = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
    assert about == ABOUT_THE_WHEEL
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / NAME).rglob("*") if path.is_file()}
    assert {name for name in here if PART_OF_THE_APP.fullmatch(name)} <= names


def test_the_sdist_holds_what_pyproject_says_and_nothing_else(sdist):
    names = in_the_sdist(sdist)

    assert strangers_in_the_sdist(names) == []
    assert names >= ALWAYS
    assert {name.partition("/")[0] for name in names} == ALWAYS | set(IN_THE_SDIST)


def unpacked(sdist: Path, into: Path) -> Path:
    with tarfile.open(sdist) as files:
        files.extractall(into, filter="data")
    return next(into.iterdir())


def test_the_wheel_made_from_the_sdist_is_the_wheel_made_from_the_repository(sdist, wheel, tmp_path):
    source = unpacked(sdist, tmp_path)

    assert in_the_wheel(build(source, "wheel", tmp_path / "built")) == in_the_wheel(wheel)


STRAYS_OF_THE_APP = [
    f"{NAME}/.env",
    f"{NAME}/conf.py.bak",
    f"{NAME}/messages/enqueueing.py.rej",
    f"{NAME}/notes.txt",
    f"{NAME}/registry.py.orig",
    f"{NAME}/static/{NAME}/admin.css~",
    f"{NAME}/tests/test_it.py",
]
OTHER_STRAYS = ["docs/reference/settings.md.orig", "script/test.rej", "tests/unit/test_conf.py.orig"]


def test_control_files_that_got_in_by_mistake_are_found(sdist, tmp_path):
    source = unpacked(sdist, tmp_path)
    for stray in STRAYS_OF_THE_APP + OTHER_STRAYS:
        (source / stray).parent.mkdir(exist_ok=True)
        (source / stray).touch()

    wheel, sdist = (build(source, target, tmp_path / target) for target in ("wheel", "sdist"))

    assert strangers_in_the_wheel(in_the_wheel(wheel)) == STRAYS_OF_THE_APP
    assert strangers_in_the_sdist(in_the_sdist(sdist)) == sorted(STRAYS_OF_THE_APP + OTHER_STRAYS)

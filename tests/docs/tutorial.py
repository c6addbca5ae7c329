"""The tutorial followed: files written, commands run, steps in the admin taken, what it shows awaited.

What a reader does is read off the page alone: see `steps_of()`. No knowledge of the shop, and no test.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docs.browsers import Browser
from tests.support import PATIENCE, ROOT, wait_until

PAGE = ROOT / "docs" / "tutorial.md"
STEP = re.compile(
    r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$|^\d+\. (?P<item>[^\n]*\n(?:(?: {3}[^\n]*)?\n)*)",
    re.MULTILINE | re.DOTALL,
)
# What an item of a numbered list asks for, in its own order; all else in it is for people.
ACTION = re.compile(
    r"`(?P<open>http://[^`]+)`"
    r"|log in as `(?P<user>\w+)` with the password `(?P<password>[^`]+)`"
    r"|\*\*(?P<field>[^*]+)\*\* `(?P<value>[^`]+)`"
    r"|\*\*(?P<press>[^*]+)\*\*"
    r"|!\[[^]]*\]\(images/(?P<picture>[\w-]+)\.webp\)"
    r'|"(?P<see>[^"]+)"'
)
SITE = "http://127.0.0.1:8000"
STAY = ("runworker", "runserver")
# Of a picture: what stands further down is told by the page.
TALLEST, QUALITY = 640, 40
WHEEL = "path/to/django-letsgo-worker"


@dataclass(frozen=True)
class Step:
    """One thing to do: a fenced snippet, or an item of a numbered list (its language is empty)."""

    line: int
    language: str
    text: str


def steps_of(source: str) -> list[Step]:
    """Return the snippets and the items of numbered lists of a page, in its order."""
    return [
        Step(
            source.count("\n", 0, match.start()) + 1,
            match["language"] or "",
            match["text"] or " ".join((match["item"] or "").split()),
        )
        for match in STEP.finditer(source)
    ]


class Staying:
    """A command that stays: what it says is read line by line, and no line is awaited twice."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._read = 0
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment, text=True, errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def says(self, line: str) -> None:
        """Wait until it says a line of the page, whatever the number of the message in it."""
        wanted = re.sub(r"message\\ \d+", r"message \\d+", re.escape(line.strip()))

        def is_said() -> bool:
            for at in range(self._read, len(self.lines)):
                if re.search(wanted, self.lines[at]):
                    self._read = at + 1
                    return True
            return False

        wait_until(is_said, what=f"{line!r}, after:\n" + "\n".join(self.lines[self._read :]))

    def end(self, number: int) -> int:
        """Send a signal to it and its children, and return its exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        code = self.process.wait(PATIENCE)
        self._reader.join(5)
        return code


class Reader:
    """Somebody who follows the page in an empty folder, with a shell, an editor and a browser."""

    def __init__(self, home: Path, wheel: Path, port: int, browser: Browser) -> None:
        self.cwd, self.wheel, self.port, self.browser = home, wheel, port, browser
        self.said: dict[str, str] = {}
        self.staying: dict[str, Staying] = {}
        self.is_active = False
        self.take: Callable[[str], None] = lambda _name: None

    def follow(self, step: Step) -> None:
        """Do what a step says, or wait for what it shows; fail, with its line, where that is not so."""
        try:
            if not step.language:
                for action in ACTION.finditer(step.text):
                    self._act(action)
            elif step.language == "shell":
                for line in step.text.splitlines():
                    self._run(line)
            elif step.language == "text":
                for line in step.text.splitlines():
                    self.staying["runworker"].says(line)
            else:
                self._write(step)
        except Exception as error:
            error.add_note(f"This is line {step.line} of {PAGE.name}: {step.text}")
            raise

    # -- the shell ---------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        mine = ("DJANGO", "DATABASE", "LETSGO", "PYTHON", "VIRTUAL_ENV", "COVERAGE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
        kept |= {"PYTHONUNBUFFERED": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}
        if self.is_active:
            kept["PATH"] = f"{self.cwd / '.venv' / 'bin'}{os.pathsep}{kept['PATH']}"
        return kept

    def _run(self, line: str) -> None:
        line = line.replace(WHEEL, str(self.wheel))
        words = shlex.split(line)
        if words[0] == "cd":
            self.cwd = self.cwd / words[1]
        elif words[:2] == [".", ".venv/bin/activate"]:
            assert (self.cwd / words[1]).exists()
            self.is_active = True
        elif stays := next((name for name in STAY if name in words), None):
            self._start(stays, words)
        else:
            self.said[line] = self._done(line)

    def _done(self, line: str) -> str:
        # The interpreter of this test is the only Python of the machine.
        line = re.sub(r"^python3 ", lambda _: f"{shlex.quote(sys._base_executable)} ", line)  # type: ignore[attr-defined]
        done = subprocess.run(
            ["bash", "-euc", line], cwd=self.cwd, env=self._environment(), text=True, timeout=300,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        return done.stdout

    def _start(self, name: str, words: list[str]) -> None:
        words = [str(self.cwd / ".venv" / "bin" / words[0]), *words[1:]]
        if name == "runserver":
            words.append(str(self.port))
        self.staying[name] = Staying(words, self.cwd, self._environment())
        self.staying[name].says({"runworker": "to stop", "runserver": "Quit the server"}[name])

    # -- the editor --------------------------------------------------------------------------------------

    def _write(self, step: Step) -> None:
        first, _, rest = step.text.partition("\n")
        named = re.match(r"# (\S+\.py)(, at its end)?$", first)
        assert named, f"{first!r} does not say which file this is."
        file = self.cwd / named[1]
        if step.language == "diff":
            file.write_text(changed(file.read_text(), rest))
        elif named[2]:
            file.write_text(f"{file.read_text()}\n{rest}")
        else:
            file.write_text(rest)
        # A file that changes twice within a second looks the same to those who watch it.
        os.utime(file, (time.time(), file.stat().st_mtime + 1))

    # -- the browser -------------------------------------------------------------------------------------

    def _act(self, action: re.Match[str]) -> None:
        if action["open"]:
            self.browser.open(action["open"].replace(SITE, f"http://127.0.0.1:{self.port}"))
        elif action["user"]:
            self.browser.fill("Username", action["user"])
            self.browser.fill("Password", action["password"])
            self.browser.press("Log in")
        elif action["field"]:
            self.browser.fill(action["field"], action["value"])
        elif action["press"]:
            self.browser.press(action["press"])
        elif action["see"]:
            self.browser.see(action["see"])
        else:
            self.take(action["picture"])


def changed(text: str, diff: str) -> str:
    """Return a text with the lines of a diff taken out and put in; each that goes stands there once."""
    lines = diff.splitlines(keepends=True)
    gone, come = ("".join(line[1:] for line in lines if line.startswith(sign)) for sign in ("-", "+"))
    assert text.count(gone) == 1, f"{gone!r} does not stand there once."
    return text.replace(gone, come)


@contextmanager
def followed(
    home: Path, wheel: Path, port: int, browser: Browser, take: Callable[[str], None] = lambda _name: None
) -> Iterator[Reader]:
    """Follow the whole page in an empty folder; what stays, the worker and the site, runs until the end."""
    reader = Reader(home, wheel, port, browser)
    reader.take = take
    with ExitStack() as stack:
        stack.callback(lambda: [one.end(9) for one in reader.staying.values()])
        for step in steps_of(PAGE.read_text()):
            reader.follow(step)
        yield reader


def build(into: Path) -> Path:
    """Build the wheel of this checkout as a release does."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(into)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (wheel,) = into.glob("*.whl")
    return wheel


def camera(driver: Any, folder: Path) -> Callable[[str], None]:
    """Return what takes small pictures of what a Chromium shows, without the frame of the admin."""
    from tests.browser import chromium

    def take(name: str) -> None:
        file = folder / f"{name}.webp"
        chromium.photograph(driver, file, width=960, tallest=TALLEST, quality=QUALITY, part="#content")

    return take

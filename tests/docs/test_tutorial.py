"""The tutorial, followed word by word on a bare machine: from the built wheel, in an empty folder.

Its files are written, its commands run and its steps in the admin taken as `tests.docs.tutorial` reads them
off the page: in Chromium, and once more by plain HTTP, as in a browser without scripts.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import chromium
from tests.docs import tutorial
from tests.docs.browsers import Browser, Chromium, Plain

# It installs Django, and follows ten minutes of a person's.
pytestmark = pytest.mark.timeout(400)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(params=["chromium", "plain"])
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if request.param == "plain":
        yield Plain()
        return
    if not chromium.IS_HERE:
        if os.environ.get("CI"):
            pytest.fail(chromium.MISSING)
        pytest.skip(chromium.MISSING)
    driver = chromium.start(tmp_path_factory.mktemp("profile"))
    try:
        yield Chromium(driver)
    finally:
        driver.quit()


# In one test, since what is followed stays followed: it takes a minute.
def test_it_leads_to_what_it_promises(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    wheel = tutorial.build(tmp_path_factory.mktemp("wheel"))
    home = tmp_path_factory.mktemp("tutorial")

    with tutorial.followed(home, wheel, free_port(), browser) as reader:
        # All that the page shows was awaited on the way; this must be left at its end.
        letters = [file.read_text() for file in (home / "tea" / "letters").iterdir()]
        assert letters == ["eve@example.com, please pay 6.50.\n"]
        assert (
            asked(reader, "from shop.models import *; print(Order.objects.count(), Invoice.objects.count())")
            == "2 2\n"
        )
        assert str(home / "tea" / ".venv") in asked(
            reader, "import django_letsgo_worker as app; print(app.__file__)"
        )
        assert reader.staying["runworker"].end(signal.SIGINT) == 0


def asked(reader: tutorial.Reader, code: str) -> str:
    """Ask the project that was followed, in its own shell."""
    line = f"python manage.py shell -v 0 -c {shlex.quote(code)}"
    reader.follow(tutorial.Step(0, "shell", line))
    return reader.said[line]


class TestTheReader:
    """Controls: what the page does not keep must be noticed."""

    def test_each_kind_of_step_is_on_the_page(self) -> None:
        steps = tutorial.steps_of(tutorial.PAGE.read_text())
        assert {step.language for step in steps} == {
            "", "shell", "text", "diff", "python", "python models", "python settings",
        }  # fmt: skip
        actions = [
            action for step in steps if not step.language for action in tutorial.ACTION.finditer(step.text)
        ]
        used = {name for action in actions for name, value in action.groupdict().items() if value}
        assert used == set(tutorial.ACTION.groupindex)

    def test_no_item_of_a_list_asks_for_nothing(self) -> None:
        items = [step for step in tutorial.steps_of(tutorial.PAGE.read_text()) if not step.language]
        assert len(items) > 10
        assert [item for item in items if not tutorial.ACTION.search(item.text)] == []

    def test_a_picture_of_the_page_is_there(self) -> None:
        named = re.findall(r"\(images/([\w-]+\.webp)\)", tutorial.PAGE.read_text())
        taken = {
            file.name: file.stat().st_size for file in (tutorial.PAGE.parent / "images").glob("tutorial-*")
        }
        assert sorted(named) == sorted(taken)
        assert max(taken.values()) < 25_000

    def test_a_diff_that_does_not_fit_is_refused(self) -> None:
        assert tutorial.changed("a\nb\n", "-b\n+c\n") == "a\nc\n"
        with pytest.raises(AssertionError, match="does not stand there once"):
            tutorial.changed("a\nb\n", "-d\n+c\n")

    def test_a_command_that_fails_ends_it(self, tmp_path: Path) -> None:
        reader = tutorial.Reader(tmp_path, tmp_path, 0, Plain())
        with pytest.raises(AssertionError) as caught:
            reader.follow(tutorial.Step(7, "shell", "false"))
        assert caught.value.__notes__ == ["This is line 7 of tutorial.md: false"]


class TestThePlainBrowser:
    """A site that starts again may cut off an answer, as Django's own server does when its code changes."""

    @pytest.fixture
    def site(self) -> Iterator[str]:
        """Cut off the first request, before or within its answer; then answer each."""
        answers = iter([b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhe"])

        class Site(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(next(answers, b"HTTP/1.0 200 OK\r\n\r\nhello"))

        with socketserver.TCPServer(("127.0.0.1", 0), Site) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}/"
            server.shutdown()

    def test_it_asks_again_for_a_page_that_was_cut_off(self, site: str) -> None:
        browser = Plain()
        browser.open(site)
        browser.see("hello")

    def test_it_sends_no_form_twice(self, site: str) -> None:
        browser = Plain()
        with pytest.raises(ConnectionError):
            browser._ask(site, b"redrive=1")

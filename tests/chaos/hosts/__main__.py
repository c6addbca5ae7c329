"""Holds the trial on a PostgreSQL of its own, and prints what came out: `script/hosts` says how.

The exit code is 0 if every promise was kept, 1 if one was broken, and 77 if hosts cannot be made here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import django

from tests.support import ROOT

from .network import NETWORK, SCHEDULERS, SERVER, WORKERS, make_hosts, switched, why_not

SKIPPED = 77


def main() -> int:
    options = parsed()
    if reason := why_not():
        print(f"Skipped: {reason}")
        return SKIPPED
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    hosts = make_hosts()
    with (
        switched(list(hosts.values())),
        servers().postgres(address=SERVER, network=NETWORK) as url,
        tempfile.TemporaryDirectory(prefix="letsgo-hosts-") as directory,
    ):
        os.environ |= {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.testapp.settings"}
        django.setup()
        lines = held(hosts, url.replace("127.0.0.1", SERVER), Path(directory), options)
    for line in lines:
        print(f"{'kept' if line.is_kept else 'BROKEN':6}  {line.promise}: {line.found}")
    return 0 if all(line.is_kept for line in lines) else 1


def parsed() -> argparse.Namespace:
    everybody = (*WORKERS, *SCHEDULERS)
    parser = argparse.ArgumentParser(prog="script/hosts", description="Hosts of a site, and their faults.")
    parser.add_argument(
        "--cut", nargs="+", choices=everybody, default=everybody, metavar="HOST", help=" ".join(everybody)
    )
    parser.add_argument("--without", default="", metavar="GUARD", help="a guard of tests/testapp/guards.py")
    parser.add_argument("--logs", type=Path, metavar="DIRECTORY", help="where all processes' output goes")
    return parser.parse_args()


def servers() -> Any:
    """Load script/servers.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("servers", ROOT / "script" / "servers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def held(hosts: Any, url: str, directory: Path, options: argparse.Namespace) -> list[Any]:
    """Hold the trial, and return the verdict on it."""
    from django.core.management import call_command

    from .trial import Trial
    from .verdict import verdict

    call_command("migrate", verbosity=0)
    trial = Trial(hosts, url, directory, options.without)
    try:
        trial.start()
        trial.look_at_standing_faults()
        for name in options.cut:
            print(f"{name} is cut off.", file=sys.stderr, flush=True)
            trial.cut_off(name)
        trial.finish()
        return verdict(trial)
    finally:
        trial.clean_up()
        if options.logs:
            options.logs.mkdir(parents=True, exist_ok=True)
            for name, process in trial.processes.items():
                (options.logs / name).write_text(process.output)


if __name__ == "__main__":
    sys.exit(main())

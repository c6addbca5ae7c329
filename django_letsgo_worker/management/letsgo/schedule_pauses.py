"""`letsgo schedule pause-all|resume-all`: one switch for all schedules.

The switch of each is in schedules.py.
"""

from __future__ import annotations

from django.core.management.base import CommandParser

from ... import schedules
from ...inspection import pause_in_words
from . import formats
from .call import Call, Verbs

PAUSE = ("paused_at", "paused_by", "pause_reason", "resume_at")


def add_to(verbs: Verbs) -> None:
    help = "lets no schedule run; what is planned meanwhile is not made up for"
    parser = verbs.add("pause-all", pause_all, help)
    parser.add_argument("--reason", default="", help="why")
    end = parser.add_mutually_exclusive_group()
    end.add_argument(
        "--for", type=formats.duration, dest="duration", help="resume automatically after this long"
    )
    end.add_argument(
        "--until", type=formats.moment, help="resume automatically then, such as 2027-01-01T09:00:00+01:00"
    )
    _add_by(parser)
    _add_by(verbs.add("resume-all", resume_all, "lets the schedules run again, from now on"))


def _add_by(parser: CommandParser) -> None:
    parser.add_argument("--by", help="who does it (your name in the operating system)")


def pause_all(call: Call) -> None:
    until = call["until"] if call["duration"] is None else call.after(call["duration"])
    pause = schedules.pause_all(
        by=call["by"] or call.by, reason=call["reason"], until=until, using=call.using
    )
    if call.out.as_json:
        call.out.document(formats.facts_of(pause, PAUSE))
    else:
        end = "" if until is None else f" until {formats.as_text(until)}"
        call.out.say(f"All schedules are paused{end}; messages that wait still run.")


def resume_all(call: Call) -> None:
    was_paused = schedules.resume_all(by=call["by"] or call.by, using=call.using)
    if call.out.as_json:
        call.out.document({"was_paused": was_paused})
    else:
        call.out.say(f"All schedules {'resumed' if was_paused else 'were not paused'}.")


def say_if_paused(call: Call) -> None:
    """Say beside what is printed of schedules that none of them runs."""
    if (pause := call.snapshot.schedules_pause) is not None:
        call.out.say(pause_in_words(pause, call.clock))

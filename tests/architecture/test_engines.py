"""Engines of parts: who answers a call is read in one class, not worked out from an order of inheritance."""

from __future__ import annotations

import pytest

from django_letsgo_worker import engines
from django_letsgo_worker.engines.mysql import MySQLEngine
from django_letsgo_worker.engines.postgresql import PostgreSQLEngine
from django_letsgo_worker.engines.sqlite import SQLiteEngine

ENGINES = (SQLiteEngine, MySQLEngine, PostgreSQLEngine)
# Of these Python makes one for each class.
EVERYBODYS = {"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__qualname__",
              "__static_attributes__", "__firstlineno__"}  # fmt: skip

# All that an engine's own class may say. The rest is said once, in Engine.
DIFFERS = (
    "dialect", "display_name", "skip_locked", "can_return_updated", "poll_seconds", "chunk", "most_text",
    "can_listen", "lapse_grace", "own_options", "clock_sql", "clock", "execute", "prepare_own_connection",
    "notice_silence", "begin_round",
    "insert", "insert_many", "has_leftovers", "reset_session", "remember_session", "abort_connection",
    "data_version", "listen", "tell_revoked", "notify", "name_queues", "say_busy", "last_look",
    "lanes", "lock_held",
    "claim_within", "settles_and_claims_at_once", "settle_and_claim", "settle", "settle_locked",
    "atomic_scope",
    "old_snapshots", "bloated_tables", "tell_of_operation", "known_occurrences", "move_schedules",
    "insert_occurrences", "rest", "tell_of_schedules",
)  # fmt: skip


def own_names(kind: type) -> set[str]:
    return set(vars(kind)) - EVERYBODYS


def puzzles(kind: type) -> list[str]:
    """Say what makes one search the classes above an engine's."""
    above = [one for one in kind.__mro__[1:] if one is not object]
    found = [f"{one.__name__} is one level too many" for one in above if one is not engines.Engine]
    answered = {name for one in above for name in own_names(one)}
    return found + sorted(f"{name} is answered twice" for name in answered & own_names(kind) - set(DIFFERS))


@pytest.mark.parametrize("kind", ENGINES)
def test_an_engine_stands_on_engine_alone_and_answers_only_what_differs(kind):
    assert puzzles(kind) == []


def test_whatever_is_said_to_differ_is_said_by_engine_and_by_another():
    assert set(DIFFERS) <= own_names(engines.Engine) | set(engines.Engine.__annotations__)
    assert set(DIFFERS) <= set().union(*map(own_names, ENGINES))


def test_control_a_class_in_between_and_an_answer_on_two_levels_are_found():
    class Between(engines.Engine):
        def settle(self, *args, **kwargs):
            return {}

    class Below(Between):
        def settle(self, *args, **kwargs):
            return {}

        def renew(self, *args, **kwargs):
            return set()

    assert puzzles(Below) == ["Between is one level too many", "renew is answered twice"]

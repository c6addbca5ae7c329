"""The gauge of problems: as many as are found, with code and severity, and nothing of what is not."""

from __future__ import annotations

import pytest

from django_letsgo_worker import handler
from django_letsgo_worker.inspection import CODES, problems
from django_letsgo_worker.monitor.gauges import Gauges
from tests.inspection.troubles import TROUBLES, all_is_well

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def healthy(own_registry, settings):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    all_is_well()


def gauges():
    return {
        labels: value
        for (name, labels), value in Gauges("default").read().items()
        if name == "letsgo_problems"
    }


@pytest.mark.parametrize("code", CODES)
def test_each_problem_is_counted_while_it_is_there(code):
    assert gauges() == {}
    make, _about = TROUBLES[code]
    with make():
        severity = next(one.severity for one in problems() if one.code == code)
        assert gauges()[code, severity] == 1
    assert (code, severity) not in gauges()

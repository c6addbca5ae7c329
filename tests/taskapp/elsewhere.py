"""A task where no worker looks for one, and what only looks like one."""

from .framework import task


@task
def overlooked():
    return "found"


def plain():
    return "never called"


former_name = overlooked

"""Handlers for worker processes that tests start. Payloads are {"n": ...}, some with more.

A handler that waits polls for a file: {"gate": path}.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from django_letsgo_worker import Delivery, Reject, handler

from .models import Effect, Entry


def note(delivery: Delivery) -> None:
    Entry.objects.create(
        n=delivery.payload["n"], receipt=delivery.receipt, attempt=delivery.attempt, process=os.getpid()
    )


def wait_for_gate(delivery: Delivery) -> None:
    gate = Path(delivery.payload["gate"])
    while not gate.exists():
        time.sleep(0.01)


@handler("work:note", max_attempts=1000, backoff=[0.05])
def write_an_entry(delivery: Delivery) -> None:
    note(delivery)
    time.sleep(delivery.payload.get("linger", 0))


@handler("work:hold", backoff=[0.05])
def hold(delivery: Delivery) -> str:
    """Write an entry, and wait for the gate whatever one is told."""
    note(delivery)
    wait_for_gate(delivery)
    return f"by {os.getpid()}"


@handler("work:until-stopped", backoff=[0.05])
def until_stopped(delivery: Delivery) -> None:
    """Write an entry, and wait for the gate or to be told to stop."""
    note(delivery)
    gate = Path(delivery.payload["gate"])
    while not gate.exists() and not delivery.should_stop:
        time.sleep(0.01)


@handler("work:until-lost", backoff=[0.05])
def until_lost(delivery: Delivery) -> str:
    """Wait at the first attempt until the lease is lost, and say so in the gate file."""
    note(delivery)
    while delivery.attempt == 1 and not delivery.lease_lost:
        time.sleep(0.01)
    if delivery.attempt == 1:
        Path(delivery.payload["gate"]).touch()
    return f"by attempt {delivery.attempt}"


@handler("work:die")
def die(delivery: Delivery) -> None:
    """Kill the process, each time."""
    note(delivery)
    os.kill(os.getpid(), signal.SIGKILL)


@handler("work:die-at-the-gate")
def die_at_the_gate(delivery: Delivery) -> None:
    note(delivery)
    wait_for_gate(delivery)
    os.kill(os.getpid(), signal.SIGKILL)


@handler("work:die-once")
def die_once(delivery: Delivery) -> None:
    note(delivery)
    if delivery.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


# See guards.py: without its transaction it is a plain handler.
ATOMIC = os.environ.get("TESTAPP_WITHOUT") != "the transaction"


@handler("work:effect", atomic=ATOMIC, max_attempts=1000, backoff=[0.05])
def write_an_effect(delivery: Delivery) -> None:
    """Write an effect, and stay a little between the write and the commit."""
    Effect.objects.create(n=delivery.payload["n"], receipt=delivery.receipt)
    time.sleep(delivery.payload.get("linger", 0))


@handler("work:async-note", max_attempts=1000, backoff=[0.05])
async def write_an_entry_from_a_loop(delivery: Delivery) -> None:
    await Entry.objects.acreate(
        n=delivery.payload["n"], receipt=delivery.receipt, attempt=delivery.attempt, process=os.getpid()
    )


@handler("work:mourn", max_attempts=1000, backoff=[0.05])
def mourn(delivery: Delivery) -> None:
    """Write an entry about a message that died."""
    Entry.objects.create(n=delivery.payload["message"], receipt=0, attempt=0, process=os.getpid())


@handler("work:reject", on_dead="work:mourn")
def reject(delivery: Delivery) -> None:
    raise Reject("never")


@handler("work:reject-atomic", on_dead="work:mourn", atomic=True)
def reject_in_a_transaction(delivery: Delivery) -> None:
    raise Reject("never")


@handler("work:die-mourned", on_dead="work:mourn")
def die_and_be_mourned(delivery: Delivery) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

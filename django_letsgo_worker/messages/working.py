"""What workers do with messages: claim, settle, renew. Every write after the claim is fenced.

Which outcome an attempt has is decided in outcomes.py; when to ask is the worker's.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from ..conf import settings
from ..delivery import Delivery, Signals
from ..engines import Claimed, Settlement
from ..errors import WorkerDied
from ..outcomes import Outcome, dotted, error_entry, fingerprint, with_entry
from ..payloads import exact_json, storable
from .following import followers_of

logger = logging.getLogger("django_letsgo_worker.worker")


def kept_outcomes() -> frozenset[str]:
    """Return the outcomes that leave an archived row: a keep-time of 0 keeps none."""
    now = settings()
    kept = {"succeeded", "cancelled", "expired"} if now.keep_succeeded_for else set()
    return frozenset(kept | ({"dead"} if now.keep_dead_for else set()))


def payload_of(claimed: Claimed) -> Any:
    """Return the payload of a claimed message, to choose a handler by; None where it cannot be read."""
    try:
        return json.loads(claimed.payload)
    except (ValueError, RecursionError):
        return None


def _errors_of(claimed: Claimed) -> list[Any]:
    """Return the errors so far; none where somebody has written there what is no list."""
    try:
        errors = json.loads(claimed.errors)
    except (ValueError, RecursionError):
        return []
    return errors if isinstance(errors, list) else []


def delivery_of(claimed: Claimed, signals: Signals | None = None) -> Delivery:
    """Return the value that a handler is given for a claimed message."""
    headers = json.loads(claimed.headers) if claimed.headers != "{}" else {}
    return Delivery(
        message_id=claimed.id,
        type=claimed.type,
        payload=json.loads(claimed.payload),
        headers=headers,
        queue=claimed.queue,
        priority=claimed.priority,
        attempt=claimed.attempts,
        max_attempts=claimed.max_attempts,
        receipt=claimed.receipt,
        enqueued_at=claimed.enqueued_at,
        deadline=claimed.deadline,
        planned_at=claimed.planned_at,
        schedule=headers.get("schedule") if claimed.planned_at else None,
        _signals=signals or Signals(),
    )


def settlement_of(
    claimed: Claimed,
    outcome: Outcome,
    *,
    seconds: float,
    ended_seconds_ago: float = 0.0,
    process: str,
    on_dead: str | None = None,
) -> Settlement:
    """Return what is to be written for an attempt that ended.

    `seconds` is how long the handler ran; `process` names the worker in the record of a failure;
    `on_dead` is the handler's.
    """
    entry = errors = mark = None
    if outcome.recorded and outcome.exception is not None:
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        entry = error_entry(
            outcome.exception, attempt=claimed.attempts, at=at, seconds=seconds, process=process
        )
        errors = exact_json(with_entry(_errors_of(claimed), entry))
        mark = fingerprint(outcome.exception)
    return Settlement(
        id=claimed.id,
        receipt=claimed.receipt,
        outcome=outcome.settled_as,
        attempts=None if outcome.counted else claimed.attempts - 1,
        errors=errors,
        delay_seconds=outcome.delay_seconds,
        started_seconds_ago=seconds + ended_seconds_ago,
        seconds=seconds,
        result=_result(claimed, outcome),
        error_class=entry["class"] if entry else "",
        error_fingerprint=mark or "",
        on_dead=followers_of(claimed, on_dead, entry) if entry and outcome.name == "dead" else (),
        max_attempts=outcome.max_attempts,
    )


def _result(claimed: Claimed, outcome: Outcome) -> str | None:
    if outcome.result is None:
        return None
    text, is_json = encode_result(outcome.result)
    if not is_json:
        logger.warning(
            "The result of message %s (%s) is not JSON: its text is kept.", claimed.id, claimed.type
        )
    return text


def encode_result(result: Any) -> tuple[str, bool]:
    """Return a handler's result as JSON text, and whether it was JSON: else it is its text, cut at 64 KiB."""
    try:
        text = exact_json(result)
        text.encode()
        if "\\u0000" not in text:
            return text, True
    except (TypeError, ValueError, RecursionError):
        pass
    return exact_json(storable(_readable(result))), False


def _readable(value: Any) -> str:
    try:
        return str(value)
    except BaseException:
        return f"(a {type(value).__name__} whose text cannot be read)"


def release_of(claimed: Claimed, *, deaths: int = 0) -> Settlement:
    """Return what gives a message back at once, as if it had not been claimed."""
    return Settlement(
        id=claimed.id,
        receipt=claimed.receipt,
        outcome="released",
        attempts=claimed.attempts - 1,
        deaths=deaths,
    )


def unfit_settlement(claimed: Claimed, process: str, on_dead: str | None = None) -> Settlement | None:
    """Return what becomes of a claimed message that must not run: worn out, or past its deadline.

    The claim that found out is not counted as an attempt. `on_dead` is the handler's.
    """
    if claimed.deadline is not None and claimed.deadline <= claimed.leased_at:
        return Settlement(
            id=claimed.id, receipt=claimed.receipt, outcome="expired", attempts=claimed.attempts - 1
        )
    if not claimed.is_worn_out:
        return None
    error = WorkerDied(max(1, claimed.deaths))
    at = claimed.leased_at.isoformat(timespec="microseconds")
    entry = error_entry(error, attempt=claimed.max_attempts, at=at, seconds=0.0, process=process)
    return Settlement(
        id=claimed.id,
        receipt=claimed.receipt,
        outcome="dead",
        attempts=claimed.attempts - 1,
        errors=exact_json(with_entry(_errors_of(claimed), entry)),
        deaths=claimed.deaths,
        error_class=dotted(error),
        error_fingerprint=fingerprint(error),
        on_dead=followers_of(claimed, on_dead, entry),
    )

"""Events as Stripe documents them, signed as the stripe library signs them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).parent / "events"
LIVE_SECRET, TEST_SECRET = "whsec_of_the_live_endpoint", "whsec_of_the_test_endpoint"


def event(name: str = "invoice.paid", **changes: Any) -> dict[str, Any]:
    """Return an event from its file, with some of its top-level facts changed."""
    return {**json.loads((EVENTS / f"{name}.json").read_text()), **changes}


def signature(body: str, secret: str = LIVE_SECRET, *, age: float = 0) -> str:
    """Return the Stripe-Signature of a body that was signed `age` seconds ago."""
    import stripe

    at = int(time.time() - age)
    return stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=at)


def post(client: Any, sent: dict[str, Any] | str, *, mode: str = "live", **headers: str) -> Any:
    """Post an event to a webhook with Django's test client, signed for it unless a header says otherwise."""
    body = sent if isinstance(sent, str) else json.dumps(sent)
    secret = LIVE_SECRET if mode == "live" else TEST_SECRET
    return client.post(
        f"/stripe/webhook/{mode}",
        data=body,
        content_type="application/json",
        headers={"Stripe-Signature": signature(body, secret), **headers},
    )

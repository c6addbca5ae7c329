"""Redaction: what stands under a secret key is masked."""

from __future__ import annotations

from django.test import override_settings

from django_letsgo_worker import redaction


@override_settings(LETSGO_WORKER={"REDACT": ("token", "pin*")})
def test_what_stands_under_a_secret_key_is_masked_however_deep():
    payload = {"Api-Token": 1, "a": [{"pin_code": 2, "spin": 3}]}
    assert redaction.redacted(payload) == {"Api-Token": "•••", "a": [{"pin_code": "•••", "spin": 3}]}

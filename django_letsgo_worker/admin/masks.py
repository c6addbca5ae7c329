"""Putting masked values back when a masked text was edited."""

from __future__ import annotations

from typing import Any

from ..redaction import MASK, is_secret


class MaskMoved(ValueError):
    """A mask stands where nothing was masked."""


def restored(edited: Any, original: Any) -> Any:
    """Return an edited value with each mask replaced by what it stood for; else MaskMoved."""
    if isinstance(edited, dict):
        before = original if isinstance(original, dict) else {}
        return {key: _restored_item(key, item, before) for key, item in edited.items()}
    if isinstance(edited, list):
        olds = original if isinstance(original, list) else []
        return [
            restored(item, olds[place] if place < len(olds) else None) for place, item in enumerate(edited)
        ]
    return edited


def _restored_item(key: str, item: Any, before: dict[str, Any]) -> Any:
    if item != MASK or not is_secret(key):
        return restored(item, before.get(key))
    if key not in before:
        raise MaskMoved(key)
    return before[key]

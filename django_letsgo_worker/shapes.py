"""Dataclasses of plain JSON values: read from a payload, each field checked against its annotation.

No coercion, and nothing that JSON does not have: datetimes and kin are pydantic's, in typed.py.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

Path = tuple[str | int, ...]
Read = Callable[[Any, Path], Any]

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    types.NoneType: "null",
    list: "a list",
    dict: "a dictionary",
}


class Unfit(Exception):
    """A value that does not fit: where it is, and why. The value itself is not said: it is a payload."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path = path
        self.why = why


def plain(value: Any) -> Any:
    """Return a value with the dataclasses in it as dictionaries."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value) if one.init}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def reader_of(cls: type) -> Read:
    """Return what makes objects of a dataclass from JSON; TypeError names what is beyond it.

    Keys that the dataclass does not have are passed over, so that a newer sender may send more.
    """
    return _reader(cls, {})


def _reader(annotation: Any, known: dict[type, Read]) -> Read:
    origin = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if annotation is Any:
        return lambda value, path: value
    if annotation is None:
        annotation = origin = types.NoneType
    if origin in (typing.Union, types.UnionType):
        return _reader_of_union(arguments, known)
    if origin is list:
        return _reader_of_list(_reader(arguments[0] if arguments else Any, known))
    if origin is dict and (not arguments or arguments[0] is str):
        return _reader_of_dict(_reader(arguments[1] if arguments else Any, known))
    if annotation in (str, int, float, bool, types.NoneType):
        return lambda value, path: _checked(annotation, value, path)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _reader_of_dataclass(annotation, known)
    raise TypeError(getattr(annotation, "__name__", None) or str(annotation))


def _checked(kind: type, value: Any, path: Path) -> Any:
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind in (int, float)):
        raise Unfit(path, f"it is {_WORDS.get(type(value), type(value).__name__)}, not {_WORDS[kind]}")
    return value


def _reader_of_list(read_item: Read) -> Read:
    def read(value: Any, path: Path) -> Any:
        return [read_item(item, (*path, at)) for at, item in enumerate(_checked(list, value, path))]

    return read


def _reader_of_dict(read_item: Read) -> Read:
    def read(value: Any, path: Path) -> Any:
        return {key: read_item(item, (*path, key)) for key, item in _checked(dict, value, path).items()}

    return read


def _reader_of_union(arguments: tuple[Any, ...], known: dict[type, Read]) -> Read:
    readers = [_reader(one, known) for one in arguments if one is not types.NoneType]
    may_be_none = types.NoneType in arguments

    def read(value: Any, path: Path) -> Any:
        if value is None and may_be_none:
            return None
        for read_as in readers[:-1]:
            try:
                return read_as(value, path)
            except Unfit:
                continue
        return readers[-1](value, path)

    return read


def _reader_of_dataclass(cls: type, known: dict[type, Read]) -> Read:
    if cls in known:
        return known[cls]
    readers: dict[str, Read] = {}

    def read(value: Any, path: Path) -> Any:
        given = _checked(dict, value, path)
        for name in needed:
            if name not in given:
                raise Unfit((*path, name), "it is missing")
        values = {name: reads(given[name], (*path, name)) for name, reads in readers.items() if name in given}
        try:
            return cls(**values)
        except ValueError as error:
            raise Unfit(path, str(error)) from error

    # Before its fields are looked at: one of them may be of this class again.
    known[cls] = read
    hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
    taken = [one for one in dataclasses.fields(cls) if one.init]
    needed = [one.name for one in taken if _is_needed(one)]
    for one in taken:
        try:
            readers[one.name] = _reader(hints[one.name], known)
        except TypeError as error:
            raise TypeError(f"{one.name}: {error}") from None
    return read


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING

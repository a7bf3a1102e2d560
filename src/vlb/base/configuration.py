"""Typed configurations: frozen dataclasses to JSON and back, and overrides by field name.

A field whose type is a union of dataclasses is written with its class name under "type" and read
back only as one of the classes that the annotation lists, so a configuration file can name nothing
that the code does not offer.
"""

import dataclasses
import json
import math
import types
import typing
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vlb.base.errors import UserError, suggestion

T = TypeVar("T")
LARGEST = 2**63 - 1


def encode(value: Any) -> Any:
    """A dataclass as plain JSON values, every nested dataclass tagged with its class name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        kind: type = type(value)
        return {"type": kind.__name__, **fields}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], value: Any, where: str = "config") -> T:
    """The inverse of `encode` for an instance of `kind`. Raises `UserError` naming the field that is wrong."""
    return _read(kind, value, where)


def override(config: T, assignment: str) -> T:
    """A copy of `config` with one field replaced, from "path.to.field=value" or a unique "field=value".

    Values are read as JSON where they parse, else as text. A nested configuration is chosen by its class
    name; it keeps what both inherit, as schedules do their ends. Raises `UserError` for an unknown or ambiguous
    name (with a suggestion) and for a value that does not fit.
    """
    name, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f"--set expects field=value, not {assignment!r}")
    paths = list(_paths(config))
    matches = [p for p in paths if p == name] or [p for p in paths if p.endswith("." + name)]
    if not matches:
        known = [*paths, *(p.rpartition(".")[2] for p in paths)]
        raise UserError(f"no field is called {name!r}; {suggestion(name, known)}")
    if len(matches) > 1:
        raise UserError(f"{name!r} is ambiguous: write one of {', '.join(matches)}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return _replace(config, matches[0].split("."), value, matches[0])


def _paths(config: Any, prefix: str = "") -> typing.Iterator[str]:
    for field in dataclasses.fields(config):
        path = prefix + field.name
        yield path
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _paths(value, path + ".")


def _replace(config: Any, path: list[str], value: Any, where: str) -> Any:
    head, *rest = path
    if rest:
        new = _replace(getattr(config, head), rest, value, where)
    else:
        new = _read(get_type_hints(type(config))[head], value, where)
        if isinstance(value, str):
            new = _keep_inherited(new, getattr(config, head))
    return dataclasses.replace(config, **{head: new})


def _keep_inherited(new: Any, old: Any) -> Any:
    """`new`, chosen by name alone, with the values that `old` has for the fields of a base class of both."""
    bases = [base for base in type(new).__mro__[1:] if dataclasses.is_dataclass(base) and isinstance(old, base)]
    kept = {field.name: getattr(old, field.name) for base in bases for field in dataclasses.fields(base)}
    return dataclasses.replace(new, **kept) if kept else new


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise UserError(f"{where}: {value!r} is not offered; {suggestion(str(value), map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: expected a list such as [1, 2], not {value!r}")
        return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise UserError(f"{where}: {str(value)[:20]}… is beyond the numbers that computers count with")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"{where}: expected {_describe(kind)}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}: expected a finite number, not {value!r}")
    return value


def _read_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    classes = {a.__name__: a for a in arguments if isinstance(a, type) and dataclasses.is_dataclass(a)}
    if classes:
        name = value.get("type") if isinstance(value, dict) else value
        if not isinstance(name, str) or name not in classes:
            raise UserError(f"{where}: {name!r} is not offered; {suggestion(str(name), classes)}")
        return _read_dataclass(classes[name], value if isinstance(value, dict) else {}, where)
    plain = [a for a in arguments if a is not type(None)]
    if len(plain) != 1:
        raise TypeError(f"{where}: a field is a union of dataclasses or optional, nothing else")
    return _read(plain[0], value, where)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object with the fields of {kind.__name__}, not {value!r}")
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    given = {k: v for k, v in value.items() if k != "type"}
    if value.get("type", kind.__name__) != kind.__name__:
        raise UserError(f"{where}: expected a {kind.__name__}, not a {value['type']}")
    for name in given:
        if name not in fields:
            raise UserError(f"{where}: no field is called {name!r}; {suggestion(name, fields)}")
    return kind(**{name: _read(hints[name], item, f"{where}.{name}") for name, item in given.items()})


def _describe(kind: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(kind, str(kind))

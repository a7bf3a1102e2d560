"""Typed configurations: frozen dataclasses to JSON and back, and overrides by field name.

A field that may hold one of several dataclasses is annotated with the `Family` of them, as in
`Annotated[Schedule, SCHEDULES]`: a value is written with its stable tag under "type" and read back only as a
member of that family, so that a configuration file can name nothing that the code does not offer, and no
renamed class makes a file unreadable.
"""

import dataclasses
import json
import types
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from vlb.base.domains import admit, choice, hints
from vlb.base.errors import UserError, suggestion

T = TypeVar("T")


class Family:
    """The dataclasses offered for one place, each under the tag by which files and people name it, for ever."""

    def __init__(self, what: str, offered: Mapping[str, type]) -> None:
        """what: in words, for messages; offered: tag -> dataclass, whose fields all have defaults. Raises `ValueError`
        for a class offered under two tags."""
        self.what = what
        self.offered = types.MappingProxyType(dict(offered))
        self._tags = {kind: tag for tag, kind in offered.items()}
        if len(self._tags) < len(offered):
            raise ValueError(f"a {what} is offered under two tags")

    def tag(self, value: object) -> str:
        """The tag of a member. Raises `UserError` for what is offered under none, and so cannot be written."""
        if type(value) not in self._tags:
            raise UserError(
                f"a {type(value).__name__} is no {self.what} that has a name; {suggestion('', self.offered)}"
            )
        return self._tags[type(value)]

    def kind(self, tag: Any, where: str) -> type:
        """The dataclass under a tag. Raises `UserError`, naming `where`, with a suggestion for an unknown one."""
        if not isinstance(tag, str) or tag not in self.offered:
            raise UserError(f"{where}: {tag!r} is not offered; {suggestion(str(tag), self.offered)}")
        return self.offered[tag]


def encode(value: Any, kind: Any = None) -> Any:
    """A dataclass as plain JSON values, members of a family with their tag.

    kind: what `value` is annotated as, where that is a family; its own class by default.
    """
    family = _family(kind)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kinds = hints(value.__class__)
        fields = {f.name: encode(getattr(value, f.name), kinds[f.name]) for f in dataclasses.fields(value)}
        return fields if family is None else {"type": family.tag(value), **fields}
    if isinstance(value, tuple | list):
        inner = _of_items(kind)
        return [encode(item, inner) for item in value]
    return value


def decode(kind: Any, value: Any, where: str = "config") -> Any:
    """The inverse of `encode` for an instance of `kind`. Raises `UserError` naming the field that is wrong."""
    return _read(kind, value, where)


def override(config: T, assignment: str) -> T:
    """A copy of `config` with one field replaced, from "path.to.field=value" or a unique "field=value".

    Values are read as JSON where they parse, else as text. A member of a family is chosen by its tag; it keeps what
    both inherit, as schedules do their ends. Raises `UserError` for an unknown or ambiguous name (with a suggestion)
    and for a value that does not fit.
    """
    name, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f"--set expects field=value, not {assignment!r}")
    paths = list(_paths(config))
    matches = [p for p in paths if p == name] or [p for p in paths if p.endswith("." + name)]
    if not matches:
        last = Counter(p.rpartition(".")[2] for p in paths)
        known = [*paths, *(short for short, count in last.items() if count == 1)]
        raise UserError(f"no field is called {name!r}; {suggestion(name, known)}")
    if len(matches) > 1:
        raise UserError(f"{name!r} is ambiguous: write one of {', '.join(matches)}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return _replace(config, matches[0].split("."), value, matches[0])


def _paths(config: Any, prefix: str = "") -> Iterator[str]:
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
        new = _read(hints(config.__class__)[head], value, where)
        if isinstance(value, str):
            new = _keep_inherited(new, getattr(config, head))
    return dataclasses.replace(config, **{head: new})


def _keep_inherited(new: Any, old: Any) -> Any:
    """`new`, chosen by name alone, with the values that `old` has for the fields of a base class of both."""
    bases = [base for base in type(new).__mro__[1:] if dataclasses.is_dataclass(base) and isinstance(old, base)]
    kept = {field.name: getattr(old, field.name) for base in bases for field in dataclasses.fields(base)}
    return dataclasses.replace(new, **kept) if kept else new


def _family(kind: Any) -> Family | None:
    """The family that an annotation names, also where None is another choice."""
    if get_origin(kind) is Annotated:
        return next((extra for extra in kind.__metadata__ if isinstance(extra, Family)), None)
    if get_origin(kind) in (Union, types.UnionType):
        return next(filter(None, map(_family, get_args(kind))), None)
    return None


def _of_items(kind: Any) -> Any:
    """What the items of a list are annotated as."""
    arms = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return next((get_args(arm)[0] for arm in arms if get_origin(arm) is tuple), None)


def _read(kind: Any, value: Any, where: str) -> Any:
    family = _family(kind) if get_origin(kind) is Annotated else None
    if family is not None:
        return _read_member(family, value, where)
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) in (Union, types.UnionType):
        return _read_one_of(get_args(plain), value, where)
    if get_origin(plain) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: expected a list such as [1, 2], not {value!r}")
        return tuple(_read(get_args(plain)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(plain):
        return _read_dataclass(plain, value, where)
    return admit(kind, value, where)


def _read_one_of(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    """One type, or a list of another, or None where that is a choice."""
    chosen = choice(arguments, value)
    if chosen is None:
        raise TypeError(f"{where}: a field has one type, a family of them, or is optional, nothing else")
    return None if chosen is types.NoneType else _read(chosen, value, where)


def _read_member(family: Family, value: Any, where: str) -> Any:
    """From its tag alone, or from an object with the tag under "type" and fields."""
    if not isinstance(value, dict):
        return _read_dataclass(family.kind(value, where), {}, where)
    fields = {name: item for name, item in value.items() if name != "type"}
    return _read_dataclass(family.kind(value.get("type"), where), fields, where)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object with the fields of {kind.__name__}, not {value!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise UserError(f"{where}: no field is called {name!r}; {suggestion(str(name), fields)}")
    missing = [name for name, f in fields.items() if _required(f) and name not in value]
    if missing:
        raise UserError(f"{where}: the field {missing[0]!r} is missing")
    read = {name: _read(hints(kind)[name], item, f"{where}.{name}") for name, item in value.items()}
    try:
        return kind(**read)
    except UserError as error:  # of fields that do not go together
        raise UserError(f"{where}: {error}") from error


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING

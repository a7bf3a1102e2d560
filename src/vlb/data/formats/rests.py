"""How formats write a rest: what of a file's style is unusual, as JSON, then a line feed and bytes as they stood."""

import json
from dataclasses import fields
from typing import Any, TypeVar

from vlb.data.formats.base import Declined

Style = TypeVar("Style")


def pack(style: Any, tail: bytes = b"") -> bytes:
    """A style, a dataclass whose every field has a default, and `tail`; b"" where nothing is to be said."""
    said = unusual(style)
    head = json.dumps(said, separators=(",", ":")).encode() if said else b""
    return head + b"\n" + tail if head or tail else b""


def unpack(kind: type[Style], rest: bytes) -> tuple[Style, bytes]:
    """The inverse. Raises `Declined` for a rest that says no such style."""
    head, _, tail = bytes(rest).partition(b"\n")
    try:
        said = json.loads(head) if head else {}
    except (ValueError, RecursionError) as error:
        raise Declined("a rest that is none of its format") from error
    return styled(kind, said), tail


def unusual(style: Any) -> dict[str, Any]:
    """The fields that are not their defaults."""
    return {f.name: getattr(style, f.name) for f in fields(style) if getattr(style, f.name) != f.default}


def styled(kind: type[Style], said: Any) -> Style:
    """The inverse of `unusual`. Raises `Declined` where a field is unknown or of another type than its default."""
    known = {f.name: f.default for f in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(said, dict):
        raise Declined("a rest that is none of its format")
    said = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    if not all(name in known and type(value) is type(known[name]) for name, value in said.items()):
        raise Declined("a rest that is none of its format")
    return kind(**said)

"""NumPy's .npz files: .npy files in a zip file, stored or deflated.

The rest is b"" for what `numpy.savez` writes of arrays in C order. Else it is what is said of the members, once for
those of which the same is said. A member is called as in the file but for a last .npy.
"""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vlb.data.formats.base import Content, Declined, File, Member
from vlb.data.formats.npy import Npy
from vlb.data.formats.rests import styled, unusual
from vlb.data.formats.zipped import Entry, Style, Zipped, apart, entry, together

SUFFIX = ".npy"
NPY = Npy()
ZIP64_FIELD = 1  # of sizes, which are not the style's to say


@dataclass(frozen=True)
class Within:
    """How a member is written. bare: without .npy in its name; rest: of the .npy file, as Latin-1."""

    bare: bool = False
    rest: str = ""


class Arrays(NamedTuple):
    """The members of a file, of which none is read before it is asked for."""

    entries: tuple[Entry, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """In order; without .npy."""
        return tuple(found.name.removesuffix(SUFFIX) for found in self.entries)

    def read(self, name: str) -> np.ndarray:
        """The array of a name, a view of the content where it is not deflated. Raises `Declined`."""
        found = [one for one, called in zip(self.entries, self.names, strict=True) if called == name]
        if len(found) != 1:
            raise Declined(f"{len(found)} members are called {name}")
        return NPY.read(found[0].content()).members[0].values


def arrays_in(content: Content) -> Arrays:
    """Raises `Declined` for what is no zip file."""
    return Arrays(apart(content).entries)


class Npz:
    """Zip files all of whose members are .npy files."""

    freedom: str | None = "the deflate streams"

    def recognises(self, name: str, head: Content) -> bool:
        return name.lower().endswith(".npz") and bytes(head[:4]) in (b"PK\3\4", b"PK\5\6")

    def read(self, content: Content) -> File:
        zipped = _apart(content)
        members, said = list[Member](), list[dict[str, Any]]()
        for found in zipped.entries:
            try:
                file = NPY.read(found.content())
            except Declined as error:
                raise Declined(f"{found.name} in it: {error}") from error
            bare = not found.name.endswith(SUFFIX)
            members.append(Member(found.name.removesuffix(SUFFIX), file.members[0].values))
            said.append(unusual(found.style) | unusual(Within(bare, file.rest.decode("latin-1"))))
        return File(tuple(members), _packed(said, zipped.comment))

    def write(self, file: File) -> bytes:
        common, odd, comment = _unpacked(file.rest)
        entries = list[Entry]()
        for i, (name, values) in enumerate(file.members):
            said = odd.get(str(i), common)
            if not isinstance(said, dict):
                raise Declined("a rest that is none of an .npz file")
            within = styled(Within, {key: value for key, value in said.items() if key in ("bare", "rest")})
            style = styled(Style, {key: value for key, value in said.items() if key not in ("bare", "rest")})
            content = NPY.write(File((Member("", values),), _bytes(within.rest)))
            entries.append(entry(name if within.bare else name + SUFFIX, style, content))
        return together(Zipped(tuple(entries), comment))

    def same(self, one: Content, other: Content) -> bool:
        try:
            first, second = _apart(one), _apart(other)
            return first.comment == second.comment and all(
                (a.name, a.style) == (b.name, b.style) and a.content() == b.content()
                for a, b in zip(first.entries, second.entries, strict=True)
            )
        except (Declined, ValueError):
            return False


def _apart(content: Content) -> Zipped:
    """A file of which streams, names and styles are all that there is. Raises `Declined`."""
    zipped = apart(content)
    if together(zipped) != content:
        raise Declined("a zip file that is put together as no style of this format says")
    for found in zipped.entries:
        for extra in (found.style.extra, found.style.local_extra):
            if ZIP64_FIELD in _fields(extra.encode("latin-1")):
                raise Declined("a zip file that says sizes where they are not needed")
    return zipped


def _fields(extra: bytes) -> list[int]:
    """The kinds of the extra fields. Raises `Declined`."""
    kinds, at = list[int](), 0
    while at < len(extra):
        kinds.append(int.from_bytes(extra[at : at + 2], "little"))
        at += 4 + int.from_bytes(extra[at + 2 : at + 4], "little")
    if at != len(extra):
        raise Declined("an extra field of a zip file that ends before its end")
    return kinds


def _packed(said: list[dict[str, Any]], comment: str) -> bytes:
    common = said[0] if said else {}
    odd = {str(i): one for i, one in enumerate(said) if one != common}
    return json.dumps([common, odd, comment], separators=(",", ":")).encode() if common or odd or comment else b""


def _unpacked(rest: bytes) -> tuple[dict[str, Any], dict[str, Any], str]:
    try:
        common, odd, comment = json.loads(bytes(rest)) if rest else ({}, {}, "")
    except (ValueError, TypeError, RecursionError) as error:
        raise Declined("a rest that is none of an .npz file") from error
    if not (isinstance(common, dict) and isinstance(odd, dict) and isinstance(comment, str)):
        raise Declined("a rest that is none of an .npz file")
    return common, odd, comment


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeError as error:
        raise Declined("a rest that is none of an .npz file") from error

"""The thinnest formats that an archive needs, without the library's own."""

import io
import json
import zlib

import numpy as np

from vlb.data.formats.base import Content, Declined, File, Member


class Npy:
    """.npy files as `numpy.save` writes them; what stands behind the array is the rest."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return name.endswith(".npy")

    def read(self, content: Content) -> File:
        stream = io.BytesIO(content)
        try:
            values = np.load(stream, allow_pickle=False)
        except Exception as error:
            raise Declined(f"no array ({error})") from error
        return File((Member("", values),), stream.read())

    def write(self, file: File) -> bytes:
        stream = io.BytesIO()
        np.save(stream, file.members[0].values, allow_pickle=False)
        return stream.getvalue() + file.rest

    def same(self, one: Content, other: Content) -> bool:
        return bytes(one) == bytes(other)


class Several:
    """Arrays behind one another, by name, their names in the rest."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return name.endswith(".several")

    def read(self, content: Content) -> File:
        stream, members = io.BytesIO(content), list[Member]()
        try:
            names = json.loads(stream.readline())
            for name in names:
                members.append(Member(name, np.load(stream, allow_pickle=False)))
        except Exception as error:
            raise Declined(f"no arrays ({error})") from error
        return File(tuple(members), stream.read())

    def write(self, file: File) -> bytes:
        stream = io.BytesIO()
        stream.write(json.dumps([member.name for member in file.members]).encode() + b"\n")
        for member in file.members:
            np.save(stream, member.values, allow_pickle=False)
        return stream.getvalue() + file.rest

    def same(self, one: Content, other: Content) -> bool:
        return bytes(one) == bytes(other)


class Deflated:
    """One plane of bytes in a zlib stream of any level."""

    freedom = "the deflate stream"

    def recognises(self, name: str, head: Content) -> bool:
        return name.endswith(".plane")

    def read(self, content: Content) -> File:
        try:
            stream = zlib.decompressobj()
            plain = stream.decompress(content, 1 << 24)
            if not stream.eof or len(plain) < 2:
                raise Declined("cut short")
            height, width = plain[:2]
            return File((Member("", np.frombuffer(plain[2:], np.uint8).reshape(height, width)),), stream.unused_data)
        except (zlib.error, ValueError) as error:
            raise Declined(f"no plane ({error})") from error

    def write(self, file: File) -> bytes:
        values = file.members[0].values
        return zlib.compress(bytes(values.shape) + values.tobytes()) + file.rest

    def same(self, one: Content, other: Content) -> bool:
        first, second = self.read(one), self.read(other)
        return np.array_equal(first.members[0].values, second.members[0].values) and first.rest == second.rest


class Commas:
    """Rows of as many cells; the names are the rest."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return name.endswith(".csv")

    def read(self, content: Content) -> File:
        try:
            names, *lines = bytes(content).decode("utf-8", "surrogateescape").split("\n")
        except UnicodeDecodeError as error:
            raise Declined("no text") from error
        rows = [line.split(",") for line in lines]
        if not rows or len({len(row) for row in rows}) != 1:
            raise Declined("no table")
        cells = np.empty((len(rows), len(rows[0])), object)
        cells[:] = rows
        return File((Member("", cells),), names.encode("utf-8", "surrogateescape"))

    def write(self, file: File) -> bytes:
        lines = [",".join(row) for row in file.members[0].values.tolist()]
        return file.rest + b"\n" + "\n".join(lines).encode("utf-8", "surrogateescape")

    def same(self, one: Content, other: Content) -> bool:
        return bytes(one) == bytes(other)


FORMATS = (Npy(), Several(), Deflated(), Commas())

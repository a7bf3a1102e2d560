"""Reading and writing small binary structures; what is read comes from anywhere and is believed in nothing."""

from vlb.base.errors import UserError

MAX_TEXT = 1 << 12
CRC = 4  # bytes of a CRC-32


class Damaged(Exception):
    """What was read cannot have been written by this format."""


class Writer:
    """Collects bytes; numbers take seven bits a byte, low ones first."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def number(self, value: int) -> "Writer":
        """A whole number ≥ 0."""
        if value < 0:
            raise ValueError(f"negative number {value}")
        while value > 0x7F:
            self._parts.append(0x80 | (value & 0x7F))
            value >>= 7
        self._parts.append(value)
        return self

    def numbers(self, values: tuple[int, ...]) -> "Writer":
        """How many, then each."""
        self.number(len(values))
        for value in values:
            self.number(value)
        return self

    def raw(self, content: bytes) -> "Writer":
        """Bytes whose number the reader knows."""
        self._parts += content
        return self

    def text(self, value: str) -> "Writer":
        """Length and UTF-8. Raises `UserError` for one too long to be a name."""
        content = value.encode("utf-8", "surrogateescape")
        if len(content) > MAX_TEXT:
            raise UserError(f"the name {value[:60]!r}… is too long to be stored")
        return self.number(len(content)).raw(content)

    def content(self) -> bytes:
        """Everything written."""
        return bytes(self._parts)


class Reader:
    """Takes apart `content`. Every method raises `Damaged` where it does not hold what is asked for."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    @property
    def at(self) -> int:
        """How many bytes have been read."""
        return self._at

    def number(self, limit: int = (1 << 31) - 1) -> int:
        """A whole number from 0 to `limit`."""
        value, shift = 0, 0
        while True:
            byte = self.raw(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if value > limit or shift > 63:
                raise Damaged(f"a number above {limit}")
            if byte < 0x80:
                return value

    def numbers(self, count_limit: int, limit: int = (1 << 31) - 1) -> tuple[int, ...]:
        """At most `count_limit` numbers."""
        return tuple(self.number(limit) for _ in range(self.number(count_limit)))

    def raw(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self._content) - self._at:
            raise Damaged("it ends too early")
        self._at += count
        return self._content[self._at - count : self._at]

    def text(self) -> str:
        """A name."""
        try:
            return self.raw(self.number(MAX_TEXT)).decode("utf-8", "surrogateescape")
        except UnicodeDecodeError as error:
            raise Damaged("a name that is not text") from error

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.raw(len(self._content) - self._at)

    def end(self) -> None:
        """Raises `Damaged` if anything is left."""
        if self._at != len(self._content):
            raise Damaged("it goes on where it should end")

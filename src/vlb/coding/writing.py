"""Making an archive: items into chunks, chunks into a file that is whole or not there."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from vlb.base.errors import UserError
from vlb.base.files import written_new
from vlb.base.progress import SILENT, Progress
from vlb.coding import values
from vlb.coding.arrays import ArrayHead
from vlb.coding.container import ARRAY, MODEL, PICTURES, TABLE, VERBATIM, ArchiveWriter, Header
from vlb.coding.general import pack
from vlb.coding.sequence import Account, SequenceCodec
from vlb.coding.sources import PLAIN, Array, Item, Other, Picture, Table, as_examples, layout
from vlb.coding.texts import understood
from vlb.coding.wire import Writer
from vlb.data import Column
from vlb.data.tables import delimiter_of, pieces

Part = TypeVar("Part")
CHUNK_VALUES = 1 << 21
PIECE = 1 << 22
TABLE_PIECE = 1 << 21  # characters


@dataclass
class Summary:
    """What became of the input. bytes_in: pixel values and other content as they were read."""

    values: int = 0
    examples: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    model_bytes: int = 0
    coded_bytes: int = 0
    accounts: list[Account] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def gross(self) -> float:
        """Bits per value of the whole file, an embedded model left out; NaN without any values."""
        return 8 * (self.bytes_out - self.model_bytes) / self.values if self.values else float("nan")

    @property
    def gross_with_model(self) -> float:
        """Bits per value of the whole file."""
        return 8 * self.bytes_out / self.values if self.values else float("nan")

    def net(self, dimensions: int) -> float:
        """Bits per value that bits-back coding added per example, the direct ones left out; NaN without any."""
        examples = sum(account.examples - account.direct for account in self.accounts)
        bits = sum(account.net for account in self.accounts)
        return bits / (examples * dimensions) if examples else float("nan")


@dataclass(frozen=True)
class Options:
    """verify: decode every chunk before it is written; progress: told how many examples are done; columns: of the
    tables that the model is of."""

    verify: bool = True
    progress: Progress = SILENT
    columns: tuple[Column, ...] | None = None


def write_archive(
    out: Path, header: Header, codec: SequenceCodec, found: Iterator[Item], model: bytes | None, options: Options
) -> Summary:
    """Write `found` to `out`, whole or not at all. Raises `UserError` if there is nothing, or `out` exists."""
    summary, started = Summary(), time.perf_counter()
    with written_new(out) as temporary, temporary.open("wb") as stream:
        archive = ArchiveWriter(stream, header)
        for piece in _pieces(model or b""):
            summary.model_bytes += archive.add(MODEL, Writer().number(len(piece)).content() + pack(piece))
        before = archive.count
        job = _Job(archive, codec, header.levels, summary, options)
        waiting: list[Picture] = []
        for item in found:
            if isinstance(item, Picture):
                waiting.append(item)
                if len(waiting) * item.pixels.size >= CHUNK_VALUES:
                    job.pictures(waiting)
                    waiting = []
                continue
            if waiting:  # order is kept
                job.pictures(waiting)
                waiting = []
            if isinstance(item, Array):
                job.array(item)
            elif isinstance(item, Table):
                job.table(item)
            else:
                job.other(item)
        if waiting:
            job.pictures(waiting)
        if archive.count == before:
            raise UserError("there is nothing to compress in the input")
        archive.finish()
        summary.bytes_out = archive.size
    summary.seconds = time.perf_counter() - started
    return summary


@dataclass(frozen=True)
class _Job:
    archive: ArchiveWriter
    codec: SequenceCodec
    levels: int
    summary: Summary
    options: Options

    def pictures(self, pictures: list[Picture]) -> None:
        names = Writer()
        for picture in pictures:
            names.text(picture.name).number(picture.kind)
        packed = pack(names.content())
        head = Writer().number(len(pictures)).number(len(names.content())).number(len(packed)).raw(packed)
        x = np.stack([picture.pixels for picture in pictures])
        self._values(PICTURES, head, x, f"{len(pictures)} pictures from {pictures[0].name}")

    def array(self, item: Array) -> None:
        rows = item.values if item.values.ndim else item.values.reshape(1)
        kind = layout(rows.shape, rows.dtype, self.codec.shape)
        row_values = max(1, int(np.prod(rows.shape[1:])))
        step = max(1, (CHUNK_VALUES if kind else PIECE // max(1, rows.dtype.itemsize)) // row_values)
        if kind == PLAIN and rows.size:
            self.summary.notes.append(
                f"{item.name} {item.member}".strip() + f": {rows.dtype} of shape {rows.shape}, where the model is of "
                f"whole numbers of shape (n, {', '.join(map(str, self.codec.shape))}); stored as it is"
            )
        for start in range(0, max(1, len(rows)), step):
            part = np.asarray(rows[start : start + step])
            fits = kind != PLAIN and part.min() >= 0 and part.max() < self.levels
            about = ArrayHead(
                item.name, item.member, item.container, rows.dtype, item.values.shape, start, len(part),
                kind if fits else PLAIN,
            )  # fmt: skip
            head = Writer()
            about.write(head)
            what = f"{item.name} {item.member}".strip() + f", rows {start} to {start + len(part) - 1}"
            if fits:
                self._values(ARRAY, head, as_examples(part, kind, self.codec.shape), what)
                continue
            if kind != PLAIN:
                self.summary.notes.append(
                    f"{what}: values outside the model's 0..{self.levels - 1}, stored as they are"
                )
            content = np.ascontiguousarray(part).tobytes()
            self.summary.bytes_in += len(content)
            self.summary.values += part.size
            self.archive.add(ARRAY, head.content() + pack(content, (part.itemsize * row_values, part.itemsize)))

    def table(self, item: Table) -> None:
        delimiter = None
        for text, last in _marked(pieces(item.path, TABLE_PIECE)):
            delimiter = delimiter or delimiter_of(item.path, text)
            rows = understood(text, delimiter, self.options.columns or ())
            if isinstance(rows, str):
                self.summary.notes.append(f"{item.name}: {rows}; stored as it is")
                self._verbatim(item.name, last, text.encode())
                continue
            head = Writer().text(item.name).number(int(last))
            rows.write(head)
            self._values(TABLE, head, rows.x, item.name, len(text.encode()))

    def other(self, item: Other) -> None:
        self.summary.notes.append(f"{item.name}: {item.reason}; stored as it is")
        with item.path.open("rb") as stream:
            for content, last in _marked(_read(stream)):
                self._verbatim(item.name, last, content)

    def _verbatim(self, name: str, last: bool, content: bytes) -> None:
        for start in range(0, max(1, len(content)), PIECE):
            part, end = content[start : start + PIECE], start + PIECE >= len(content)
            head = Writer().text(name).number(int(last and end)).number(len(part))
            self.archive.add(VERBATIM, head.content() + pack(part))
            self.summary.bytes_in += len(part)

    def _values(self, kind: int, head: Writer, x: np.ndarray, what: str, size: int | None = None) -> None:
        coded = values.encode(x, self.codec, self.levels, self.options.verify)
        if coded.reason is not None:
            how = "stored by the general codec" if coded.account is None else "coded without latents"
            self.summary.notes.append(f"{what}: {how} ({coded.reason})")
        if coded.account is not None:
            self.summary.accounts.append(coded.account)
        self.summary.coded_bytes += self.archive.add(kind, head.content() + coded.content)
        self.summary.values += x.size
        self.summary.bytes_in += x.size * values.plain_dtype(self.levels).itemsize if size is None else size
        self.summary.examples += len(x)
        self.options.progress.at(self.summary.examples)


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


def _read(stream: BinaryIO) -> Iterator[bytes]:
    """Pieces of a file; one of no bytes if it has none."""
    yield stream.read(PIECE)
    while content := stream.read(PIECE):
        yield content


def _marked(parts: Iterator[Part]) -> Iterator[tuple[Part, bool]]:
    """Each part, and whether it is the last."""
    waiting: list[Part] = []
    for part in parts:
        if waiting:
            yield waiting.pop(), False
        waiting.append(part)
    for part in waiting:
        yield part, True

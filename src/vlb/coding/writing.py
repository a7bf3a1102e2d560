"""Making an archive: files into chunks, chunks into a file that is whole or not there."""

import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.base.files import written_new
from vlb.base.progress import SILENT, Progress
from vlb.base.walk import Named
from vlb.coding import values
from vlb.coding.allowance import Allowance
from vlb.coding.container import DATA, MODEL, VERBATIM, ArchiveWriter
from vlb.coding.contents import MAX_TILES, NOTHING, Continued, Piece, Plan, checked
from vlb.coding.elements import Model
from vlb.coding.files import Formats
from vlb.coding.general import pack
from vlb.coding.header import Header
from vlb.coding.parts import Codec
from vlb.coding.records import Record
from vlb.coding.sources import Source, content_of, understood
from vlb.coding.strips import between
from vlb.coding.summary import Summary
from vlb.coding.wire import Writer
from vlb.data import Column
from vlb.data.formats.base import Content, Declined

CHUNK_VALUES = 1 << 21
CHUNK_EXAMPLES = 512  # with which a chunk ends where a file does: damage to it costs no further files
CHUNK_BESIDE = 1 << 22  # bytes of records
PIECE = 1 << 22


@dataclass(frozen=True)
class Options:
    """verify: decode every chunk before it is written; progress: told how many examples are done; columns: of the
    tables that the model is of."""

    verify: bool = True
    progress: Progress = SILENT
    columns: tuple[Column, ...] | None = None


def write_archive(
    out: Path,
    header: Header,
    codec: Codec,
    found: Iterable[Named],
    formats: Formats,
    carried: bytes | None,
    options: Options,
) -> Summary:
    """Write `found` to `out`, whole or not at all; carried: the model, if the archive is to have it.

    Raises `UserError` if there is nothing, or `out` exists.
    """
    summary, started = Summary(), time.perf_counter()
    with written_new(out) as temporary, temporary.open("wb") as stream:
        archive = ArchiveWriter(stream, header)
        for start in range(0, len(carried or b""), PIECE):
            piece = (carried or b"")[start : start + PIECE]
            summary.model_bytes += archive.add(MODEL, Writer().number(len(piece)).content() + pack(piece))
        before = archive.count
        job = _Job(archive, codec, header, header.model(options.columns), summary, options)
        for file in found:
            content = content_of(file)
            try:
                job.source(understood(file, content, job.model, formats))
            except Declined as reason:
                job.verbatim(file, content, str(reason))
        job.finish()
        if archive.count == before:
            raise UserError("there is nothing to compress in the input")
        archive.finish()
        summary.bytes_out = archive.size
        if summary.unpacked > Allowance(archive.size).limit:
            summary.notes.append("it becomes so much more than its own bytes that to restore it takes --trust")
    summary.seconds = time.perf_counter() - started
    return summary


@dataclass
class _Waiting:
    """A file some of whose examples are in no chunk yet; done: those that are; chunk: where its record is."""

    source: Source
    done: int = 0
    chunk: int = 0

    @property
    def left(self) -> int:
        return len(self.source.x) - self.done


@dataclass
class _Job:
    archive: ArchiveWriter
    codec: Codec
    header: Header
    model: Model
    summary: Summary
    options: Options
    waiting: deque[_Waiting] = field(default_factory=deque)
    count: int = 0  # examples that wait
    beside: int = 0  # bytes of records that wait

    def source(self, source: Source) -> None:
        """A file for the model, whose examples go with those that wait already into chunks of one size."""
        summary = self.summary
        summary.bytes_in += source.size
        summary.notes += [f"{source.record.name}: {remark}" for remark in source.remarks]
        summary.unpacked += source.record.weight(source.x, self.model)
        if source.freedom is not None:
            summary.reencoded.setdefault(source.freedom, []).append(source.record.name)
        self.waiting.append(_Waiting(source))
        self.count += len(source.x)
        self.beside += source.record.beside
        step = max(1, CHUNK_VALUES // math.prod(self.model.shape))
        if self.model.pieces is not None:
            step = min(step, MAX_TILES)
        while self.count >= step or self.beside > CHUNK_BESIDE:
            self._flush(min(step, self.count))
        if self.count >= CHUNK_EXAMPLES:
            self._flush(self.count)

    def verbatim(self, found: Named, content: Content, reason: str) -> None:
        """A file as it is."""
        self.summary.notes.append(f"{found.name}: {reason}; stored as it is")
        self.summary.bytes_in += len(content)
        self.summary.unpacked += len(content)
        for start in range(0, max(1, len(content)), PIECE):
            last = start + PIECE >= len(content)
            piece = Piece(found.name, last, bytes(content[start : start + PIECE]))
            self.archive.add(VERBATIM, piece.body())

    def finish(self) -> None:
        """What still waits."""
        if self.count:
            self._flush(self.count)

    def _flush(self, count: int) -> None:
        """A chunk of the first `count` examples that wait."""
        here, continued, records = self.archive.count, NOTHING, list[Record]()
        parts, ended, room = list[np.ndarray](), list[int](), count
        while room:
            file = self.waiting[0]
            taken = min(file.left, room)
            if file.done:
                strips = between(file.source.record.strips, file.done, file.done + taken)
                continued = Continued(here - file.chunk, file.done, taken, strips)
            else:
                file.chunk = here
                records.append(file.source.record)
                self.beside -= records[-1].beside
            parts.append(file.source.x[file.done : file.done + taken])
            file.done += taken
            room -= taken
            if not file.left:
                ended.append(file.source.checksum)
                self.waiting.popleft()
        self.count -= count
        going_on = self.waiting and records and self.waiting[0].source.record is records[-1]
        plan = Plan(continued, tuple(records), self.waiting[0].left if going_on else 0, checked(ended))
        self._chunk(plan, parts[0] if len(parts) == 1 else np.concatenate(parts))

    def _chunk(self, plan: Plan, x: np.ndarray) -> None:
        head = plan.head()
        coded = values.encode(x, self.codec.of(plan.strips), self.model.levels, self.options.verify)
        summary = self.summary
        if coded.reason is not None:
            how = "stored by the general codec" if coded.account is None else "coded without latents"
            summary.notes.append(f"{len(x)} examples in chunk {self.archive.count}: {how} ({coded.reason})")
        if coded.account is not None:
            summary.accounts.append(coded.account)
        self.archive.add(DATA, head + coded.content)
        summary.values += self.header.count_values(len(x), plan.strips)
        summary.examples += len(x)
        self.options.progress.at(summary.examples)

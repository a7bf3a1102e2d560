"""Where an archive's bits went: by what each chunk says of itself, and measured with the model it was made with."""

import itertools
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.coding import values
from vlb.coding.container import MODEL, ArchiveReader
from vlb.coding.contents import Data
from vlb.coding.elements import plain_dtype
from vlb.coding.header import Header
from vlb.coding.models import Coded
from vlb.coding.names import safe
from vlb.coding.parts import Codec
from vlb.coding.reading import looked_at
from vlb.coding.sequence import Account, Values
from vlb.coding.strips import Strip
from vlb.coding.summary import rate
from vlb.coding.wire import Damaged, Reader
from vlb.core.schema import Categories, Column

BATCH = 64


@dataclass(frozen=True)
class Outline:
    """What a chunk says without its model. size: in the file, bytes; values: of the examples, beyond a picture's edge
    none; direct: of the examples coded by the model, None for other chunks."""

    index: int
    kind: int
    size: int
    examples: int
    values: int
    direct: int | None


@dataclass
class Audit:
    """Bits of an archive, measured by decoding and encoding it again.

    bound: of the model on all examples, in bits, by draws of the latents; encoding, decoding: seconds.
    """

    values: int = 0
    examples: int = 0
    bytes_in: int = 0
    bound: float = 0.0
    accounts: list[Account] = field(default_factory=list)
    encoding: float = 0.0
    decoding: float = 0.0

    @property
    def net(self) -> float:
        """Bits per value of the examples that were coded with bits back; NaN without any."""
        return rate(self.accounts)

    @property
    def initial(self) -> float:
        """Bits that were there when bits back began, over all chunks."""
        return sum(account.initial for account in self.accounts)


def outlined(archive: ArchiveReader) -> list[Outline | UserError]:
    """Every chunk but those of a carried model, as far as it can be told without the model."""
    header, found = archive.header, list[Outline | UserError]()
    seen: list[tuple[int, int, int | None]] = []

    def look(reader: Reader, count: int, strips: tuple[Strip, ...]) -> np.ndarray:
        if count * math.prod(header.shape) > values.MAX_VALUES:
            raise Damaged("it claims more values than a chunk may hold")
        seen.append((count, header.count_values(count, strips), values.coded_directly(reader, count)))
        return np.zeros((count, *header.shape), plain_dtype(header.levels))

    nameless = (Column("", Categories(("",))),) * header.shape[0]  # every value is taken for the first
    chunks = (c for c in archive.chunks() if isinstance(c, UserError) or c.kind != MODEL)
    for chunk, (_, content) in zip(chunks, looked_at(archive, header.model(nameless), look), strict=True):
        if isinstance(content, UserError) or isinstance(chunk, UserError):
            found.append(content if isinstance(content, UserError) else UserError(str(chunk)))
            continue
        examples, count, direct = seen.pop() if seen else (0, 0, None)
        try:
            for record in content.plan.records if isinstance(content, Data) else ():
                safe(record.name)
            found.append(Outline(chunk.index, chunk.kind, chunk.size, examples, count, direct))
        except Damaged as error:
            found.append(UserError(f"{archive.path}: chunk {chunk.index}: {error}"))
    return found


def audited(
    archive: ArchiveReader, codec: Codec, model: Coded, columns: tuple[Column, ...] | None, draws: int = 1
) -> Audit:
    """Decode, encode again and bound everything in an archive. Raises the first `UserError` if it is damaged."""
    audit, header = Audit(), archive.header

    def take(reader: Reader, count: int, strips: tuple[Strip, ...]) -> np.ndarray:
        started, one = time.perf_counter(), codec.of(strips)
        x = values.decode(reader, count, one, header.levels)
        decoded = time.perf_counter()
        account = values.encode(x, one, header.levels, verify=False).account
        audit.encoding += time.perf_counter() - decoded
        audit.decoding += decoded - started
        held = header.count_values(count, strips)
        audit.values += held
        audit.examples += count
        audit.bytes_in += held * x.itemsize
        audit.bound += bits(model, header, one, x, draws)
        if account is not None:
            audit.accounts.append(account)
        return x

    for _, content in looked_at(archive, header.model(columns), take):
        if isinstance(content, UserError):
            raise content
    return audit


@torch.no_grad()
def bits(model: Coded, header: Header, code: Values, x: np.ndarray, draws: int = 1) -> float:
    """The bound on −log₂ p(x) of all examples together, under the hierarchy that they are coded by."""
    bounded, total = header.settings.bounded(model), 0.0
    device = next(itertools.chain(model.parameters(), model.buffers())).device
    step = BATCH if header.pieces is None else min(BATCH, header.settings.lanes.width)  # tiles are large
    for draw in range(draws):
        generator = torch.Generator().manual_seed(draw)
        for start in range(0, len(x), step):
            seen, condition = code.seen(x, start, min(start + step, len(x)))
            part = torch.tensor(seen.astype(np.int64), device=device)
            total += float(sum(term.double().sum() for term in bounded.terms(part, condition, generator).values()))
    return total / draws / math.log(2)

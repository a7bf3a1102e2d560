"""What the verbs of compression return."""

import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vlb.base.results import Result, Table, show
from vlb.base.words import so_many
from vlb.coding.accounting import Audit, Outline
from vlb.coding.container import KIND_NAMES
from vlb.coding.header import Header
from vlb.coding.rows import CODES
from vlb.coding.settings import Settings
from vlb.coding.summary import Summary

ROWS_SHOWN = 40
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Compressed(Result):
    """What became of the input, in which file, and how it was coded."""

    file: Path
    summary: Summary
    settings: Settings

    def values(self) -> dict[str, Any]:
        """Everything as JSON values; rates in bits/dim."""
        summary = self.summary
        return {
            "file": str(self.file),
            "bytes_in": summary.bytes_in,
            "bytes_out": summary.bytes_out,
            "model_bytes": summary.model_bytes,
            "gross": summary.gross,
            "gross_with_model": summary.gross_with_model,
            "net": summary.net,
            "settings": self.settings.describe(),
            "lanes": str(self.settings.lanes),
            "seconds": summary.seconds,
            "notes": list(summary.notes),
            "reencoded": {freedom: list(names) for freedom, names in summary.reencoded.items()},
        }

    def table(self) -> Table:
        """Rates in bits per value, and where they come from."""
        summary, rows = self.summary, Rows()
        if summary.values:
            rows.append(("gross rate (whole file), bits/dim", f"{summary.gross:.4f}"))
        if summary.values and summary.model_bytes:
            rows.append(("gross rate with the model", f"{summary.gross_with_model:.4f}"))
        if summary.accounts:
            rows.append(("net rate of bits back, bits/dim", f"{summary.net:.4f}"))
            rows.append(("examples coded directly, for initial bits", f"{sum(a.direct for a in summary.accounts)}"))
            rows.append(("initial bits", f"{sum(a.initial for a in summary.accounts):,.0f}"))
        rows += self.settings.describe().items()
        rows.append(("lanes", str(self.settings.lanes)))
        speed = summary.bytes_in / 1e6 / max(summary.seconds, 1e-9)
        rows.append(("MB/s, verification included", f"{speed:.4f}"))
        title = f"{self.file}: {summary.bytes_in:,} bytes in {summary.bytes_out:,}"
        return Table(title, ("", ""), (tuple(rows),), notes=tuple(_ours(*found) for found in summary.reencoded.items()))


@dataclass(frozen=True)
class Restored(Result):
    """The folder that an archive was restored into, and what is wrong with the archive, a line each."""

    file: Path
    folder: Path
    problems: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"file": str(self.file), "folder": str(self.folder), "problems": list(self.problems)}

    def table(self) -> Table:
        """Where the files are, and what is wrong."""
        rows = (("restored into", str(self.folder)), ("problems", str(len(self.problems))))
        return Table(str(self.file), ("", ""), (rows,), notes=self.problems)


@dataclass(frozen=True)
class Inspection(Result):
    """What an archive says of itself. size, model_bytes: of the file and of the model in it; chunks: those that are
    whole; problems: what is damaged, a line each; asked: whether the bits were to be accounted for; audit: where they
    went, unless it was not asked for or something is damaged."""

    file: Path
    size: int
    header: Header
    model_bytes: int
    chunks: tuple[Outline, ...]
    problems: tuple[str, ...]
    asked: bool
    audit: Audit | None

    @property
    def others(self) -> int:
        """Bytes of chunks that are no examples."""
        return sum(chunk.size for chunk in self.chunks if not chunk.examples)

    @property
    def count(self) -> int:
        """Values in examples."""
        return sum(chunk.values for chunk in self.chunks)

    def values(self) -> dict[str, Any]:
        """Everything as JSON values; rates in bits/dim."""
        return {
            "file": str(self.file),
            "size": self.size,
            **dict(self._about()),
            "chunks": [[str(cell) for cell in _row(chunk)] for chunk in self.chunks],
            **dict(self._accounts()),
            "problems": list(self.problems),
        }

    def table(self) -> Table:
        """What it is and where the bits went; `tables` has the chunks, too."""
        sections = (tuple(self._about()), tuple(self._accounts()))
        return Table(f"{self.file}: {self.size:,} bytes", ("", ""), sections, notes=self.problems, numbers=False)

    def tables(self) -> tuple[Table, Table, Table]:
        """What it says of itself, its chunks, and the accounts."""
        rows = tuple(_row(chunk) for chunk in self.chunks[:ROWS_SHOWN])
        return (
            Table(f"{self.file}: {self.size:,} bytes", ("", ""), (tuple(self._about()),), numbers=False),
            Table("chunks", ("chunk", "kind", "bytes", "examples", "coded"), (rows,), numbers=False),
            Table(f"{self.count:,} values in examples", ("", "bits/dim"), (tuple(self._accounts()),)),
        )

    def show(self, console: Any) -> None:
        """All three tables, and the problems."""
        about, chunks, accounts = self.tables()
        show(about, console)
        show(chunks, console)
        if len(self.chunks) > ROWS_SHOWN:
            console.print(f"… {len(self.chunks)} chunks in all")
        show(accounts, console)
        if not self.asked:
            console.print("--account decodes it and adds bound, net rate, initial bits and speed")
        for problem in self.problems:
            console.print(problem, markup=False)

    def _about(self) -> Rows:
        header, numerics = self.header, self.header.numerics
        torch = f"torch {numerics.torch[0]}.{numerics.torch[1]}"
        return [
            ("model", header.digest.hex() + (" (carried)" if header.embedded else "")),
            ("examples", f"{header.shape}, {_scale(header)}"),
            *_cutting(header),
            *header.settings.describe().items(),
            ("lanes", str(header.settings.lanes)),
            ("computed in", f"float64 on {numerics.device}, {numerics.threads} threads, {torch}"),
        ]

    def _accounts(self) -> Rows:
        """Rates in bits per value of the examples; files that are stored as they are, are left out of these."""
        audit, count, others, rows = self.audit, self.count, self.others, Rows()
        if count:
            if audit is not None:
                rows.append(("bound (one draw of the latents)", f"{audit.bound / count:.4f}"))
                if not math.isnan(audit.net):
                    rows.append(("net rate of bits back", f"{audit.net:.4f}"))
            left_out = ", other contents left out" if others else ""
            gross = 8 * (self.size - self.model_bytes - others) / count
            rows.append((f"gross rate (whole file{left_out})", f"{gross:.4f}"))
            rows.append(("gross rate with the model", f"{8 * (self.size - others) / count:.4f}"))
        for name, size in (("model", self.model_bytes), ("other contents: files as they are, other arrays", others)):
            if size:
                rows.append((name, f"{size:,} bytes"))
        if audit is not None and audit.accounts:
            rows.append(("initial bits, from examples coded directly", f"{audit.initial:,.0f} bits"))
        if audit is not None and audit.examples:
            rows.append(("encoding", f"{audit.bytes_in / 1e6 / audit.encoding:.4f} MB/s"))
            rows.append(("decoding", f"{audit.bytes_in / 1e6 / audit.decoding:.4f} MB/s"))
        return rows


def _ours(freedom: str, names: list[str]) -> str:
    """Which files come back with another encoding."""
    kinds = ", ".join(sorted({PurePosixPath(name).suffix or name for name in names}))
    return f"{so_many(len(names), 'file')} ({kinds}) will come back with all to the byte but {freedom}, which is ours"


def _row(chunk: Outline) -> tuple[str, ...]:
    if chunk.direct is not None:
        how = f"by the model, {chunk.direct} of them directly"
    else:
        how = "by the general codec"
    return f"{chunk.index}", KIND_NAMES[chunk.kind], f"{chunk.size:,}", f"{chunk.examples or ''}", how


def _cutting(header: Header) -> Rows:
    """How pictures are cut into examples, if they are."""
    pieces = header.pieces
    if pieces is None:
        return []
    if len(header.shape) == 2:
        return [("windows", "told where in their recording they lie")]
    margin = f"with a margin of {pieces.margin} in {pieces.phases} phases" if pieces.margin else "without a margin"
    beyond = "absent" if pieces.told else "modelled, as a repetition of its edge"
    return [("tiles of pictures", f"{margin}, what lies beyond a picture {beyond}")]


def _scale(header: Header) -> str:
    return "rows of a table with gaps" if header.levels == CODES else f"{header.levels} levels"

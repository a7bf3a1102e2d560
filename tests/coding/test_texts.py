"""Tables of text come back to the byte, whatever they hold; by the model where they are its kind."""

from pathlib import Path

import numpy as np
import pytest

from tests.commands.test_cli import vlb
from vlb.coding import writing
from vlb.coding.container import KIND_NAMES, ArchiveReader, Chunk
from vlb.core.schema import Categories
from vlb.data import Column

COLUMNS = (Column("n", Categories(("1", "2", "3"))), Column("member", Categories(("no", '"y,es"'))))


def table(seed: int, rows: int) -> str:
    """Three columns that tell a good deal about each other."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, rows)
    size, colour = kind * 3 + rng.integers(0, 3, rows), np.array(["red", "blue", '"dark, green"'])[(kind + 1) % 3]
    lines = [f"{k},{s},{c}" for k, s, c in zip(kind, size, colour, strict=True)]
    return "kind,size,colour\r\n" + "".join(line + "\r\n" for line in lines)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    (folder / "train.csv").write_bytes(table(0, 2000).encode())
    sets = ("--set", "steps=20", "--set", "training.warmup=2", "--set", "components=8")
    assert vlb("train", "discrete-table", "--data", folder / "train.csv", "--out", folder / "run", *sets) == 0
    return folder / "run"


@pytest.mark.parametrize("piece", [1 << 20, 300])
def test_tables_come_back_to_the_byte(run: Path, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CHUNK_VALUES", piece)
    new = table(1, 1000)
    odd = new.splitlines(keepends=True)
    odd[7] = "3,9,mauve\r\n"
    contents = {
        "new.csv": new.encode(),
        "unseen.csv": "".join(odd).encode(),
        "bare.csv": "\n".join(new.split("\r\n")[1:-1]).encode(),
        "ragged.csv": new.encode() + b"1,2\r\n",
        "other.csv": b"a;b\n1;2\n",
        "latin.csv": "kind\nü\n".encode("latin-1"),
        "empty.csv": b"",
        "text.csv": b"\n\n",
    }
    (tmp_path / "in").mkdir()
    for name, content in contents.items():
        (tmp_path / "in" / name).write_bytes(content)
    assert vlb("compress", run, tmp_path / "in", "-o", tmp_path / "a.vlb", "--embed-model") == 0
    assert vlb("decompress", tmp_path / "a.vlb", "-o", tmp_path / "out") == 0
    for name, content in contents.items():
        assert (tmp_path / "out" / "in" / name).read_bytes() == content, name
    kinds = [KIND_NAMES[chunk.kind] for chunk in ArchiveReader(tmp_path / "a.vlb").chunks() if isinstance(chunk, Chunk)]
    assert kinds.count("data") >= 1 + 10 * (piece == 300) and kinds.count("file as it is") >= 5


def test_a_table_costs_its_information(run: Path, tmp_path: Path) -> None:
    """log₂ 4 bits for the kind, log₂ 3 for the size, nothing for the colour: 3.58 a row."""
    (tmp_path / "new.csv").write_bytes(table(2, 5000).encode())
    assert vlb("compress", run, tmp_path / "new.csv", "-o", tmp_path / "a.vlb") == 0
    bits = 8 * (tmp_path / "a.vlb").stat().st_size / 5000
    assert np.log2(12) < bits < 1.08 * np.log2(12)

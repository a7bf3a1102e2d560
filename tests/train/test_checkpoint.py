"""Checkpoints come back bit for bit, or say that they are damaged."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.disk import no_file_beyond
from vlb.base.errors import UserError
from vlb.store.checkpoint import Checkpoint, read, save
from vlb.store.runs import Run


@pytest.fixture
def example() -> Checkpoint:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "model.a": torch.randn(3, 5, generator=generator),
        "model.b": torch.randn(2, generator=generator).double(),
        "average.a": torch.randn(3, 5, generator=generator).bfloat16(),
        "optimiser.step": torch.tensor(3.0),
    }
    return Checkpoint(tensors, {"step": 3, "best": None})


def test_round_trip(tmp_path: Path, example: Checkpoint) -> None:
    save(tmp_path / "c", example)
    back = read(tmp_path / "c")
    assert back.state == example.state
    assert back.tensors.keys() == example.tensors.keys()
    for name, tensor in example.tensors.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert torch.equal(back.tensors[name], tensor)
    assert back.section("model").keys() == {"a", "b"}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(position: float, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("flip") / "c"
    tensors = {"model.a": torch.arange(40.0), "average.a": torch.arange(7)}
    save(path, Checkpoint(tensors, {"step": 3}))
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        back = read(path)
    except UserError:
        return
    # What a flipped bit may still do: change blanks that pad the header.
    assert back.state == {"step": 3}
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, -1])
def test_truncation_is_noticed(tmp_path: Path, example: Checkpoint, kept: int) -> None:
    save(tmp_path / "c", example)
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:kept])
    with pytest.raises(UserError, match="not a whole checkpoint"):
        read(tmp_path / "c")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        read(tmp_path / "c")


@pytest.mark.parametrize("name", [b"run \xff", b"run:\n\xfc\xe9", "Läufe".encode()])
def test_a_folder_of_any_name(name: bytes, tmp_path: Path, example: Checkpoint) -> None:
    """File names are bytes; the library of these files takes UTF-8 alone."""
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    save(folder / "c", example)
    assert read(folder / "c").state == example.state


def test_what_cannot_be_read_is_not_called_damaged(
    tmp_path: Path, example: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a person is told to train again. Of configurations, too."""
    save(tmp_path / "c", example)
    (tmp_path / "config.json").write_text("{}")

    def refused(path: Path, *_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UserError, match=r"^cannot read .*/c: Permission denied$"):
        read(tmp_path / "c")
    with pytest.raises(UserError, match=r"^cannot read .*/config.json: Permission denied$"):
        Run.open(tmp_path)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_checkpoint_has_the_mode_of_other_files(mask: int, tmp_path: Path, example: Checkpoint) -> None:
    before = os.umask(mask)
    try:
        save(tmp_path / "c", example)
        (tmp_path / "other").write_bytes(b"")
        assert os.umask(mask) == mask  # it is not touched
    finally:
        os.umask(before)
    assert (tmp_path / "c").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, example: Checkpoint) -> None:
    save(tmp_path / "c", example)
    with no_file_beyond(2048), pytest.raises(UserError, match="cannot write"):
        save(tmp_path / "c", Checkpoint({"model.a": torch.zeros(10_000)}, {"step": 4}))
    assert read(tmp_path / "c").state["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["c"]

"""Progressive decoding: coarse levels first, nearer to the data at each, and exact in the end."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.building import built
from tests.coding.conftest import placed
from tests.coding.toys import FORMATS, Several
from vlb.base.errors import UserError
from vlb.base.walk import gather
from vlb.coding import reading, values
from vlb.coding.allowance import Allowance
from vlb.coding.container import ArchiveReader
from vlb.coding.contents import Piece
from vlb.coding.header import Header, Numerics
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.progressive import previews
from vlb.coding.restoring import restore
from vlb.coding.sequence import SequenceCodec
from vlb.coding.wire import Reader
from vlb.coding.writing import Options, write_archive
from vlb.data import Dataset
from vlb.data.formats.base import File, Member
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.mixture.config import Mixture


@pytest.fixture(scope="module")
def codec(model: DiffusionModel) -> SequenceCodec:
    return placed(8, lanes=1000).codec(model)


def test_each_level_is_nearer_and_the_last_is_exact(codec: SequenceCodec, test_images: np.ndarray) -> None:
    content, account = codec.encode(test_images)
    found = list(previews(codec, content, len(test_images)))
    shown = len(found[0].x)
    last = test_images[-shown:]
    distortion = [float(((preview.x - last) ** 2).mean()) for preview in found]
    assert [preview.rungs for preview in found] == list(range(1, 11)) and shown > 20
    assert np.array_equal(found[-1].rounded, last) and distortion[-1] == 0
    # Information never grows coarser: E[x | z] of a finer level is nearer, but for what a short training leaves.
    assert all(fine < 1.1 * coarse for coarse, fine in pairwise(distortion))
    assert distortion[-2] < 0.1 * distortion[0]
    read = [preview.read for preview in found]
    assert read == sorted(read) and all(preview.kept <= preview.read for preview in found)
    # What is kept in the end is the batch's net rate: about its share of the whole.
    assert found[-1].kept == pytest.approx(account.net * shown / (account.examples - account.direct), rel=0.15)


def test_a_few_examples_are_all_direct_and_exact(codec: SequenceCodec, test_images: np.ndarray) -> None:
    content, _ = codec.direct(test_images[:3])
    (only,) = previews(codec, content, 3)
    assert np.array_equal(only.rounded, test_images[:3])


def test_previews_of_stored_examples_are_exact(codec: SequenceCodec) -> None:
    blank = np.full((40, 1, 8, 8), 5, np.uint8)
    coded = values.encode(blank, codec, 17, verify=True)
    assert np.array_equal(values.preview(Reader(coded.content), 40, codec, 17, 1), blank)


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.write_bytes(Several().write(File(tuple(Member(*named) for named in arrays.items()), b"")))


def test_previews_stay_in_their_folder(
    codec: SequenceCodec, model: DiffusionModel, test_images: np.ndarray, tmp_path: Path
) -> None:
    save(tmp_path / "set.several", {"/../../../evil": test_images[:40]})
    settings = placed(8, lanes=1000)
    header = Header(b"12345678", False, (1, 8, 8), 17, settings, Numerics("cpu", 1, (2, 13)))
    write_archive(tmp_path / "a.vlb", header, codec, gather([tmp_path / "set.several"]).files, FORMATS, None, Options())
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    found = reading.previews(ArchiveReader(tmp_path / "a.vlb"), codec, FORMATS, 2)
    restore(found, tmp_path / "out", FORMATS, False, Allowance(1))
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert made and all(path.parent == tmp_path / "out" for path in made)


@pytest.mark.parametrize("dtype", [">i2", ">i8", ">u2", "i1", "<u4"])
def test_arrays_of_any_byte_order_are_coded(dtype: str, model: DiffusionModel, test_images: np.ndarray) -> None:
    codec = placed(4).codec(model)
    x = test_images[:20].astype(dtype)
    coded = values.encode(x, codec, 17, verify=True)
    assert coded.account is not None
    assert np.array_equal(values.decode(Reader(coded.content), 20, codec, 17), x)


def test_previews_become_files(
    codec: SequenceCodec, model: DiffusionModel, test_images: np.ndarray, tmp_path: Path
) -> None:
    save(tmp_path / "set.several", {"x": test_images[:150], "y": np.arange(150)})
    settings = placed(8, lanes=1000)
    header = Header(b"12345678", False, (1, 8, 8), 17, settings, Numerics("cpu", 1, (2, 13)))
    path = tmp_path / "a.vlb"
    write_archive(path, header, codec, gather([tmp_path / "set.several"]).files, FORMATS, None, Options())
    (tmp_path / "out").mkdir()
    for levels in (1, 10):
        restore(
            reading.previews(ArchiveReader(path), codec, FORMATS, levels),
            tmp_path / "out" / str(levels),
            FORMATS,
            False,
            Allowance(1),
        )
    (coarse,) = (tmp_path / "out" / "1").glob("set.several-x-*.npy")
    first = int(coarse.stem.split("-")[-2])
    exact = np.load(tmp_path / "out" / "10" / coarse.name)
    assert np.array_equal(exact, test_images[first:150])
    assert np.load(coarse).shape == exact.shape and not np.array_equal(np.load(coarse), exact)
    assert torch.equal(torch.tensor(np.load(tmp_path / "out" / "1" / "set.several-y-0-149.npy")), torch.arange(150))


def test_models_without_noise_levels_refuse(digits: Dataset, test_images: np.ndarray) -> None:
    mixture = built(Mixture(components=2, em_steps=1), digits)
    codec = MixtureSettings().codec(mixture)
    with pytest.raises(UserError, match="diffusion"):
        next(previews(codec, codec.encode(test_images[:5])[0], 5))


def test_a_preview_of_one_example_is_a_whole_file(
    codec: SequenceCodec, model: DiffusionModel, test_images: np.ndarray, tmp_path: Path
) -> None:
    for name, x in (("many.several", test_images[:60]), ("one.several", test_images[60:61])):
        save(tmp_path / name, {"x": x})
    header = Header(b"12345678", False, (1, 8, 8), 17, placed(8, lanes=1000), Numerics("cpu", 1, (2, 13)))
    path = tmp_path / "a.vlb"
    files = gather([tmp_path / "many.several", tmp_path / "one.several"]).files
    write_archive(path, header, codec, files, FORMATS, None, Options())
    pieces = [
        piece for _, piece in reading.previews(ArchiveReader(path), codec, FORMATS, 10) if isinstance(piece, Piece)
    ]
    assert [piece.last for piece in pieces if piece.name == "one.several"] == [True]

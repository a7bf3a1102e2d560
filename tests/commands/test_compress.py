"""`vlb compress`, `decompress` and `inspect` as a person meets them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.test_cli import vlb
from tests.told import Bars
from vlb.coding.api import compress
from vlb.coding.options import CompressOptions
from vlb.store.runs import Run

TINY = [
    part
    for s in (
        "steps=40", "batch=32", "backbone=mlp", "backbone.width=32", "backbone.blocks=1", "validate_every=20",
        "warmup=5", "learning_rate=0.003", "ema=0.9",
    )
    for part in ("--set", s)
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "tiny"
    assert vlb("train", "digits", "--out", path, *TINY) == 0
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of digits and one other, and an array with labels."""
    from vlb.data import load

    folder = tmp_path_factory.mktemp("data")
    test = load("digits").test
    (folder / "pictures").mkdir()
    for i in range(12):
        Image.fromarray(test.x[i, 0]).save(folder / "pictures" / f"{i:02d}.png")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "pictures" / "small.png")
    np.savez(folder / "set.npz", x=test.x[:60], y=test.labels[:60])
    return folder


@pytest.fixture(scope="module")
def archive(run: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archives") / "digits.vlb"
    assert vlb("compress", run, images / "pictures", images / "set.npz", "-o", out, "--effort", "fast") == 0
    return out


def same(images: Path, out: Path) -> bool:
    with np.load(images / "set.npz") as a, np.load(out / "set.npz") as b:
        arrays = a.files == b.files and all(a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in a.files)
    names = sorted(p.name for p in (images / "pictures").iterdir())
    pictures = names == sorted(p.name for p in (out / "pictures").iterdir())
    for name in names:
        with Image.open(images / "pictures" / name) as a, Image.open(out / "pictures" / name) as b:
            pictures &= np.array_equal(np.asarray(a), np.asarray(b))
    return arrays and pictures


def test_there_and_back(run: Path, images: Path, archive: Path, tmp_path: Path) -> None:
    assert vlb("decompress", archive, "--model", run, "-o", tmp_path / "out") == 0
    assert same(images, tmp_path / "out")


def test_data_are_not_read_where_the_noise_levels_are_known(
    run: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8), np.uint8))
    monkeypatch.setattr(Run, "data", lambda self, path=None: pytest.fail("the data were read"))
    assert vlb("compress", run, tmp_path / "x.npy", "-o", tmp_path / "x.vlb", "--effort", "fast") == 0


def test_placing_noise_levels_has_a_bar_that_ends_full(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8), np.uint8))
    (run / "coding.json").unlink(missing_ok=True)
    heard = Bars()
    compress(run, [tmp_path / "x.npy"], tmp_path / "x.vlb", CompressOptions(effort="fast"), progress=heard)
    placing = [bar for bar in heard.bars if bar.what.startswith("placing noise levels")]
    assert placing and all(bar.total == bar.done[-1] and len(bar.done) == 10 for bar in placing)


def test_inspection_needs_no_model(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vlb("inspect", archive) == 0
    told = capsys.readouterr().out
    for word in ("(1, 8, 8), 17 levels", "mixture", "data", "float64 on cpu"):
        assert word in told or (word == "mixture" and "moments" in told)


def test_an_account_says_where_the_bits_went(run: Path, archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vlb("inspect", archive, "--account", "--model", run) == 0
    told = capsys.readouterr().out
    rates = {}
    for line in told.splitlines():
        name, _, value = line.strip("│ ").partition("│")
        if name.startswith(("bound (one draw of the latents)", "net rate of bits back", "gross rate (whole file")):
            rates[name.split()[0]] = float(value.strip())
    # 72 digits: the file's frame is about 0.2 bits/dim of them, and so are few draws of the latents.
    assert rates["net"] == pytest.approx(rates["bound"], rel=0.1) and rates["net"] < rates["gross"] < rates["net"] + 0.6
    assert "MB/s" in told and "initial bits" in told
    assert vlb("inspect", archive, "--account") == 2
    assert "does not carry its model" in " ".join(capsys.readouterr().err.split())


def test_a_carried_model_serves_without_the_run(run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "with.vlb"
    arguments = ("-o", out, "--embed-model", "--no-verify", "--steps", "2", "--lanes", "8")
    assert vlb("compress", run, images / "pictures", images / "set.npz", *arguments) == 0
    assert vlb("decompress", out, "-o", tmp_path / "out") == 0
    assert same(images, tmp_path / "out")


def test_a_preview_is_what_its_levels_tell(run: Path, archive: Path, images: Path, tmp_path: Path) -> None:
    """--effort fast has three levels of latents; after the last of them a preview is E[x | z_0], near the data."""
    errors = []
    for levels in (1, 3):
        out = tmp_path / str(levels)
        assert vlb("decompress", archive, "--model", run, "-o", out, "--stop-after", levels) == 0
        (shown,) = out.glob("set.npz-x-*.npy")
        first, last = map(int, shown.stem.split("-")[-2:])
        with np.load(images / "set.npz") as whole:
            errors.append(((np.load(shown).astype(float) - whole["x"][first : last + 1]) ** 2).mean())
    assert errors[1] < errors[0]


def test_the_choice_of_levels_is_kept(run: Path, images: Path, tmp_path: Path) -> None:
    for name in ("a.vlb", "b.vlb"):
        assert vlb("compress", run, images / "pictures", "-o", tmp_path / name, "--effort", "fast") == 0
    assert (run / "coding.json").is_file()
    assert (tmp_path / "a.vlb").read_bytes() == (tmp_path / "b.vlb").read_bytes()


def test_what_the_model_is_not_of_is_said_and_has_no_rate(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((3, 1, 8, 9), np.uint8))
    assert vlb("compress", run, tmp_path / "wide.npy", "-o", tmp_path / "a.vlb", "--steps", "2") == 0
    assert "uint8 of shape (3, 1, 8, 9)" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "note.txt").write_text("words")
    assert vlb("compress", run, tmp_path / "note.txt", "-o", tmp_path / "b.vlb", "--steps", "2") == 0
    assert "nan" not in capsys.readouterr().out


def test_another_process_with_other_threads_decodes(run: Path, images: Path, archive: Path, tmp_path: Path) -> None:
    """And with the CPU kernels of machines without AVX."""
    command = [sys.executable, "-m", "vlb", "decompress", str(archive), "--model", str(run), "-o", tmp_path / "out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "default"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert same(images, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compress", "RUN", "PICTURES", "-o", "ARCHIVE"), "exists already"),
        (("compress", "RUN", "/nowhere", "-o", "new.vlb"), "nothing at /nowhere"),
        (("compress", "RUN", "PICTURES", "-o", "new.vlb", "--effort", "hihg"), "did you mean 'high'"),
        (
            ("compress", "RUN", "PICTURES", "-o", "new.vlb", "--steps", "0"),
            "--steps: expected a whole number from 1",
        ),
        (
            ("compress", "RUN", "PICTURES", "-o", "new.vlb", "--lanes", "0"),
            "--lanes: expected a whole number from 1",
        ),
        (("compress", "/nowhere", "PICTURES", "-o", "new.vlb"), "is not a run"),
        (("decompress", "ARCHIVE", "-o", "out"), "does not carry its model"),
        (("decompress", "ARCHIVE", "-o", "out", "--model", "OTHER"), "was made with the model"),
        (("decompress", "ARCHIVE", "-o", "RUN", "--model", "RUN"), "exists already"),
        (("decompress", "ARCHIVE", "-o", "out", "--model", "RUN", "--stop-after", "4"), "from 1 to 3"),
        (("decompress", "/nowhere", "-o", "out"), "cannot read /nowhere"),
        (("decompress", "PICTURE", "-o", "out"), "no vlb archive"),
        (("inspect", "PICTURE"), "no vlb archive"),
        (("inspect", "/nowhere"), "cannot read /nowhere"),
    ],
)
def test_bad_input_is_explained(
    arguments: tuple[str, ...],
    message: str,
    run: Path,
    images: Path,
    archive: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {
        "RUN": run,
        "PICTURES": images / "pictures",
        "PICTURE": images / "pictures" / "00.png",
        "ARCHIVE": archive,
    }
    if "OTHER" in arguments:
        places["OTHER"] = tmp_path_factory.mktemp("runs") / "other"
        assert vlb("train", "digits", "--out", places["OTHER"], *TINY, "--seed", "5") == 0
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert vlb(*(places.get(a, a) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split()) and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_damage_is_named_and_the_rest_saved(
    run: Path, images: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(archive.read_bytes())
    content[-40] ^= 1  # in the last chunk, that of everything but the picture of another size
    damaged = tmp_path / "damaged.vlb"
    damaged.write_bytes(content)
    assert vlb("inspect", damaged) == 2
    assert vlb("decompress", damaged, "--model", run, "-o", tmp_path / "out") == 2
    assert "chunk 1 is damaged" in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()
    assert vlb("decompress", damaged, "--model", run, "-o", tmp_path / "out", "--salvage") == 2
    assert [path.name for path in (tmp_path / "out" / "pictures").iterdir()] == ["small.png"]

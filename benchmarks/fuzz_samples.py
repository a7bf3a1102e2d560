"""What `fuzz_files.py` damages: small archives of every kind of code and every format of files, and the files of runs.

Everything is made by vlb's own verbs, of models that train for a moment on pictures of 4×4 pixels and four levels, so
that a file is a few kilobytes in which no byte is without meaning.
"""

import gzip
import io
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vlb.coding.api import compress, decompress
from vlb.coding.options import CompressOptions
from vlb.measure.evaluate import evaluate
from vlb.measure.options import EvaluateOptions
from vlb.training.options import TrainOptions
from vlb.training.verb import train

SIDE, LEVELS = 4, 4
BRIEF = ("steps=300", "batch=32", "validate_every=300", "validation_examples=8", "learning_rate=0.01", "ema=0.9")
MLP = ("backbone=mlp", "backbone.width=8", "backbone.blocks=1", *BRIEF)
EARLIER = Path(__file__).parents[1] / "tests/store/before"

MIXTURE = ("model=mixture", "loss=mixture", *BRIEF, "steps=20")
VAE = ("model=vae", "loss=elbo", "model.latents=2", "coder.width=8", "coder.blocks=0", "coder.dropout=0.0", *BRIEF)
VAMP = (*VAE, "prior=vamp", "prior.inputs=3", "likelihood=discretised-logistic")
HVAE = ("model=hvae", "loss=elbo", "model.latents=[2, 1]", "model.width=8", "model.blocks=0", *BRIEF)
UNET = ("backbone=unet", "backbone.widths=[4]", "backbone.attention=[true]", *BRIEF, "steps=150")

# Recipe, changes, steps of the code.
KINDS: dict[str, tuple[str, tuple[str, ...], int | None]] = {
    "diffusion": ("images", MLP, 2),
    "diffusion, regression": ("images", ("head=regression", *MLP), 2),
    "diffusion, U-Net": ("images", UNET, 1),
    "mixture": ("images", (*MIXTURE, "model.components=2"), None),
    "VAE": ("images", VAE, None),
    "VAE, Vamp": ("images", VAMP, None),
    "VAE, top-down": ("images", HVAE, None),
    "VAE, bottom-up": ("images", (*HVAE, "model.inference=bottom-up"), None),
    "table": ("discrete-table", ("model.components=2", *BRIEF, "steps=20"), None),
    "factors": ("table", ("model.components=2", "model.rank=1", "model.draws=2", "model.steps=20"), None),
    "CIFAR": ("images", (*MIXTURE, "model.components=1"), None),
}

VALUES, SCHEMA = "values.npz", "schema.toml"
PLACES = {
    "saved values": VALUES,
    "checkpoint to use": "checkpoints/best.safetensors",
    "checkpoint to go on from": "checkpoints/last.safetensors",
    "kept marginals": "reference.safetensors",
    "configuration": "config.json",
    "metrics": "metrics.jsonl",
}


@dataclass(frozen=True)
class Archive:
    """kind: of code, and how it was made; run: whose model it needs, unless it carries it; files: what it holds."""

    kind: str
    content: bytes
    run: Path | None
    files: dict[str, bytes]


@dataclass(frozen=True)
class RunFile:
    """A file of a run. kind: what it is for; place: in the run."""

    kind: str
    content: bytes
    run: Path
    place: str


def pictures(seed: int, count: int, shape: tuple[int, ...] = (1, SIDE, SIDE)) -> np.ndarray:
    """(count, *shape), dark ones and bright ones, of which models soon know more than a general codec."""
    rng = np.random.default_rng(seed)
    noise = rng.geometric(0.8, (count, *shape)).clip(1, LEVELS).astype(np.uint8) - 1
    return np.where(rng.random(count).reshape(-1, *[1] * len(shape)) < 0.5, noise, LEVELS - 1 - noise)


def archives(folder: Path, kinds: list[str]) -> Iterator[Archive]:
    """One by one, made in `folder`; kinds: of `KINDS`, of which runs come to lie in `folder`, too."""
    for name in kinds:
        recipe, changes, steps = KINDS[name]
        run = trained(folder, name, recipe, changes)
        inputs = folder / f"{name} in"
        write(inputs, inputs_of(name))
        for embedded in (True, False) if name in ("diffusion", "mixture", "VAE") else (name != "CIFAR",):
            out = folder / f"{name} {embedded}.vlb"
            tries = 2 if name == "VAE, top-down" else 1
            options = CompressOptions(steps=steps, lanes=16, embed_model=embedded, tries=tries)
            compress(run, [inputs], out, options)
            yield archive(f"{name}, {'carried' if embedded else 'of a run'}", out, None if embedded else run, folder)
    if set(kinds) == set(KINDS) and EARLIER.is_dir():
        for out in sorted(EARLIER.glob("*.vlb")):
            carried = out.stem.endswith("-carried")
            runs = sorted((EARLIER / "runs").glob(f"{out.stem}*"))
            if carried or runs:
                yield archive(f"version 2, {out.stem}", out, None if carried else runs[0], folder)


def inputs_of(name: str) -> dict[str, Callable[[], bytes]]:
    """What a code of that name is given: files of every format, but a few where an example takes long to decode."""
    if name.startswith("diffusion"):
        return {file: FILES[file] for file in ("a.png", "a.npy")}
    return TABLES if "table" in KINDS[name][0] else COLOUR if name == "CIFAR" else FILES


def archive(kind: str, path: Path, run: Path | None, folder: Path) -> Archive:
    """An archive with what it becomes."""
    out = folder / "out"
    decompress(path, out, run=run)
    files = tree(out)
    shutil.rmtree(out)
    return Archive(kind, path.read_bytes(), run, files)


def run_files(folder: Path, kinds: list[str]) -> Iterator[RunFile]:
    """Checkpoints, saved values and configurations of the runs that `archives` made in `folder`."""
    for name in kinds:
        original = folder / name
        if name == "CIFAR":  # large, and no other kind
            continue
        evaluate(original, options=EvaluateOptions(passes=2, examples=6), values=original / VALUES)
        for kind, place in PLACES.items():
            yield RunFile(kind, (original / place).read_bytes(), original, place)
    described = folder / "described"
    described.mkdir()
    (described / "table.csv").write_bytes(mixed(0, 40))
    for content in SCHEMAS * 4:  # else two samples among seventy
        (described / SCHEMA).write_text(content)
        yield RunFile("schema", content.encode(), described, SCHEMA)


def trained(folder: Path, name: str, recipe: str, changes: tuple[str, ...]) -> Path:
    """The run of that name."""
    if "table" in recipe:
        data = folder / "data.csv"
        data.write_bytes(table(0, 80))
    else:
        data = folder / f"{name}.npz"
        shape = (3, 32, 32) if name == "CIFAR" else (1, SIDE, SIDE)
        np.savez(data, x=pictures(0, 400, shape), levels=LEVELS)
    train(recipe, TrainOptions(overrides=changes), out=folder / name, data=data)
    return folder / name


def tree(folder: Path) -> dict[str, bytes]:
    """The files in a folder, by their relative paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write(folder: Path, made: dict[str, Callable[[], bytes]]) -> None:
    """Files by name, and a text that no format reads."""
    folder.mkdir()
    for name, make in made.items():
        (folder / name).write_bytes(make())
    (folder / "note.txt").write_text("neither a picture nor a table\n" * 3)


def image(seed: int, suffix: str, mode: str = "L") -> bytes:
    stream, picture = io.BytesIO(), Image.fromarray(pictures(seed, 1)[0, 0])
    picture.convert(mode).save(stream, suffix)
    return stream.getvalue()


def array(seed: int, packed: bool) -> bytes:
    stream = io.BytesIO()
    if packed:
        np.savez(stream, x=pictures(seed, 3), weights=np.linspace(0, 1, 7))
    else:
        x = pictures(seed, 8).astype(np.int64)
        x[3, 0, 1, 1] = 77  # an exception
        np.save(stream, x)
    return stream.getvalue()


def idx(seed: int) -> bytes:
    x = pictures(seed, 3)[:, 0]
    return struct.pack(">4B3I", 0, 0, 8, 3, *x.shape) + x.tobytes()


def table(seed: int, rows: int) -> bytes:
    """Columns of words, one with a comma in quotes, and of numbers."""
    rng = np.random.default_rng(seed)
    columns = (["no", "yes"], ["red", '"blue, light"', "grey"], ["0", "1", "2", "3"])
    lines = [",".join(str(rng.choice(values)) for values in columns) for _ in range(rows)]
    return "\r\n".join(["member,colour,count", *lines, ""]).encode()


def mixed(seed: int, rows: int) -> bytes:
    """Columns of words, of numbers on a grid and not, half of one of which are zeros, and of levels, with gaps."""
    rng = np.random.default_rng(seed)
    lines = ["member,income,height,count"]
    for _ in range(rows):
        income = 0 if rng.random() < 0.5 else 100 * int(rng.integers(1, 90))
        cells = str(rng.choice(["no", "yes"])), str(income), f"{rng.normal(1.7, 0.1):.7g}", str(rng.integers(4))
        lines.append(",".join(cell if rng.random() < 0.9 else "-9" for cell in cells))
    return "\n".join([*lines, ""]).encode()


def tabbed(seed: int, rows: int) -> bytes:
    """The same with tabs, and a word that the model does not know."""
    content = table(seed, rows).replace(b'"blue, light"', b"grey").replace(b",", b"\t").replace(b"\r\n", b"\n")
    return content + b"no\tviolet\t2\n"


SCHEMAS = (
    """missing = ["-9"]  # as the survey wrote it

[[column]]
name = "member"
type = "categories"
values = ["no", "yes"]
other = true

[[column]]
name = "income"
type = "real"
resolution = 100.0
unit = "EUR"
atoms = [0.0]

[[column]]
name = "height"
type = "real"

[[column]]
name = "count"
type = "levels"
count = 4
""",
    """[[column]]
name = "count"
type = "categories"
values = ["0", "1", "2", "3"]
ordered = true
missing = ["-9"]

[[column]]
name = "member"
type = "categories"
values = ["no", "yes", "-9"]
""",
)
FILES: dict[str, Callable[[], bytes]] = {
    "a.png": lambda: image(1, "png"),
    "bits.png": lambda: image(2, "png", "1"),
    "a.pgm": lambda: image(3, "ppm"),
    "a.bmp": lambda: image(4, "bmp"),
    "a.npy": lambda: array(5, False),
    "a.npz": lambda: array(6, True),
    "a-images-idx3-ubyte": lambda: idx(7),
    "a-images-idx3-ubyte.gz": lambda: gzip.compress(idx(8), 6, mtime=0),
}
TABLES: dict[str, Callable[[], bytes]] = {
    "a.csv": lambda: table(1, 12),
    "b.tsv": lambda: (
        table(2, 5).replace(b'"blue, light"', b"grey").replace(b",", b"\t").replace(b"\r\n", b"\n") + b"no\tviolet\t2\n"
    ),
}
COLOUR: dict[str, Callable[[], bytes]] = {
    "a.bin": lambda: b"".join(b"\3" + pictures(9 + i, 1, (3, 32, 32)).tobytes() for i in range(2)),
}

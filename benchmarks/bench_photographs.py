"""Photographs of any size: bits/dim of held-out whole pictures, with and without margins, beside other codecs.

FOLDER holds photographs: those of Debian's package mate-backgrounds (`apt-get download mate-backgrounds`, `dpkg -x`,
its nature/*.jpg), to which the two of scikit-learn are added. They are JPEGs, and scaled down until little of that is
left. Of their names in order every fifth is a test picture, and the one behind it one for validation.

Both ways get as many network evaluations of pixels: a tile with its margin is 2.25 times as many as one without, and
gets so many fewer steps. What a result file holds already is not done again, and a run in --runs goes on where it was
stopped. Needs `imagecodecs` (the extra `bench`).

    python benchmarks/bench_photographs.py FOLDER [--side 320] [--steps 1000] [--batch 8] [--way NAME] [--runs DIR]
        [--out RESULT]
    python benchmarks/bench_photographs.py --table RESULT
"""

import argparse
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from other_codecs import ENCODERS
from PIL import Image
from sklearn.datasets import load_sample_images

import vlb
from vlb.base.files import write_text
from vlb.base.memory import keep_freed_memory

CROP, MARGIN = 32, 8
WAYS = {"without margins": 0, "with margins": MARGIN}
NETWORK = (
    "model.roles=true", "model.backbone.widths=[32,64]", "model.backbone.attention=[false,false]",
    "model.head=preconditioned", "model.schedule.gamma_0=-9", "training.warmup=50", "training.ema=0.99",
)  # fmt: skip


def prepare(source: Path, folder: Path, side: int) -> None:
    """The photographs as PNG files whose longer side is of so many pixels, in folders that are splits."""
    found = {path.stem: Image.open(path) for path in sorted(source.glob("*.jpg"))}
    names = ("china", "flower")
    found |= {name: Image.fromarray(x) for name, x in zip(names, load_sample_images().images, strict=True)}
    for number, (name, image) in enumerate(sorted(found.items())):
        split = {0: "test", 1: "validation"}.get(number % 5, "train")
        (folder / split).mkdir(parents=True, exist_ok=True)
        scale = side / max(image.size)
        size = tuple(max(CROP, round(edge * scale)) for edge in image.size)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(folder / split / f"{name}.png")


def others(folder: Path) -> dict[str, float]:
    """Bits per dimension of the pictures in a folder, each a file by itself."""
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    values = sum(picture.size for picture in pictures)
    return {name: 8 * sum(len(encode(picture)) for picture in pictures) / values for name, encode in ENCODERS.items()}


def cpu() -> float:
    """Seconds of this process so far."""
    spent = os.times()
    return spent.user + spent.system


def trained(data: Path, out: Path, margin: int, chosen: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """A run with such a margin, and what it cost."""
    steps = round(chosen.steps * ((CROP + 2 * MARGIN) / (CROP + 2 * margin)) ** 2)
    settings = (
        *NETWORK, f"training.steps={steps}", f"training.batch={chosen.batch}", f"training.validate_every={steps}",
        "training.validation_examples=40", "training.checkpoint_every=25",
    )  # fmt: skip
    started = cpu()
    if out.exists():
        vlb.train("images", out=out, resume=True)
    else:
        vlb.train("images", vlb.TrainOptions(crop=CROP, margin=margin, overrides=settings), out=out, data=data)
    return out, {"margin": margin, "steps": steps, "training CPU seconds, of the last start": round(cpu() - started)}


def measured(run: Path, test: Path, folder: Path) -> dict[str, Any]:
    """The bound of the test pictures, and what becomes of them as files."""
    started = cpu()
    result = vlb.evaluate(run)
    values = {
        "bits/dim": result.bits_per_dim,
        "standard error": result.standard_error,
        "Monte Carlo error": result.se_monte_carlo,
        "baselines": dict(result.baselines),
        "pictures": result.things,
        "tiles": result.examples,
        "evaluation CPU seconds": round(cpu() - started),
    }
    started = cpu()
    archive = vlb.compress(run, [test], folder / f"{run.name}.vlb")
    values |= {
        "T": archive.settings.steps,
        "archive, bits/dim": archive.summary.gross,
        "net, bits/dim": None if math.isnan(archive.summary.net) else archive.summary.net,
        "notes of the archive": archive.summary.notes,
        "compression CPU seconds": round(cpu() - started),
    }
    vlb.decompress(archive.file, folder / f"{run.name}-back", run=run)
    back = folder / f"{run.name}-back" / test.name
    if any(np.asarray(Image.open(back / file.name)).tobytes() != np.asarray(Image.open(file)).tobytes()
           for file in test.iterdir()):  # fmt: skip
        raise AssertionError("the pictures did not come back")
    audit = vlb.inspect(archive.file, vlb.InspectOptions(account=True), run=run).audit
    return {**values, "bound of the code, bits/dim": audit.bound / audit.values}


def table(results: dict[str, Any]) -> str:
    """The result in Markdown."""
    lines = ["| | bound, bits/dim | archive, bits/dim | steps |", "|---|---|---|---|"]
    for name, way in results["ways"].items():
        bound = f"{way['bits/dim']:.3f} ± {way['standard error']:.3f}"
        lines.append(f"| vlb, {name} | {bound} | {way['archive, bits/dim']:.3f} (T = {way['T']}) | {way['steps']:,} |")
    lines += [f"| {name} | | {rate:.3f} | |" for name, rate in results["others"].items()]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, nargs="?")
    arguments.add_argument("--table", type=Path, metavar="RESULT.json")
    arguments.add_argument("--side", type=int, default=320)
    arguments.add_argument("--steps", type=int, default=1000, help="of the way with margins")
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--way", choices=tuple(WAYS), help="this one alone")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--runs", type=Path, help="a folder in which runs are kept, and found again")
    chosen = arguments.parse_args()
    keep_freed_memory()
    if chosen.table is not None:
        print(table(json.loads(chosen.table.read_text())))
        return
    if chosen.folder is None:
        arguments.error("give the folder of photographs")
    results: dict[str, Any] = {"side": chosen.side, "batch": chosen.batch, "ways": {}}
    if chosen.out is not None and chosen.out.is_file():
        results = json.loads(chosen.out.read_text())
    with tempfile.TemporaryDirectory() as temporary:
        runs = chosen.runs or Path(temporary)
        data = runs / "photographs"
        if not data.is_dir():
            prepare(chosen.folder, data, chosen.side)
        results["others"] = others(data / "test")
        print(results["others"], flush=True)
        for name, margin in WAYS.items():
            if name in results["ways"] or chosen.way not in (None, name):
                continue
            run, cost = trained(data, runs / f"margin-{margin}", margin, chosen)
            results["ways"][name] = cost | measured(run, data / "test", Path(temporary))
            print(name, json.dumps(results["ways"][name]), flush=True)
            if chosen.out is not None:
                write_text(chosen.out, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

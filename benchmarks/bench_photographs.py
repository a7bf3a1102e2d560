"""Photographs of any size: bits/dim of held-out whole pictures, with and without margins, beside other codecs.

FOLDER holds photographs: those of Debian's package mate-backgrounds (`apt-get download mate-backgrounds`, `dpkg -x`,
its nature/*.jpg), to which the two of scikit-learn are added. They are JPEGs, and scaled down until little of that is
left. Of their names in order, every fourth is a test picture and the one behind it one for validation.

    python benchmarks/bench_photographs.py FOLDER [--side 160] [--steps 250] [--batch 8] [--out RESULT.json]
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from other_codecs import ENCODERS
from PIL import Image
from sklearn.datasets import load_sample_images

import vlb

CROP, MARGIN = 32, 8
WAYS = {"without margins": 0, "with margins of 8 in 4 phases": MARGIN}
NETWORK = (
    "model.roles=true", "model.backbone.widths=[32,64]", "model.backbone.attention=[false,false]",
    "model.schedule.gamma_0=-7.5", "training.learning_rate=2e-3", "training.warmup=20", "training.ema=0.98",
)  # fmt: skip


def prepare(source: Path, folder: Path, side: int) -> None:
    """The photographs as PNG files whose longer side is of so many pixels, in folders that are splits."""
    found = {path.stem: Image.open(path) for path in sorted(source.glob("*.jpg"))}
    names = ("china", "flower")
    found |= {name: Image.fromarray(x) for name, x in zip(names, load_sample_images().images, strict=True)}
    for number, (name, image) in enumerate(sorted(found.items())):
        split = {0: "test", 1: "validation"}.get(number % 4, "train")
        (folder / split).mkdir(parents=True, exist_ok=True)
        scale = side / max(image.size)
        size = tuple(max(CROP, round(edge * scale)) for edge in image.size)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(folder / split / f"{name}.png")


def others(folder: Path) -> dict[str, float]:
    """Bits per dimension of the pictures in a folder, each a file by itself."""
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    values = sum(picture.size for picture in pictures)
    return {name: 8 * sum(len(encode(picture)) for picture in pictures) / values for name, encode in ENCODERS.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--side", type=int, default=160)
    arguments.add_argument("--steps", type=int, default=250)
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--out", type=Path)
    chosen = arguments.parse_args()
    results: dict[str, object] = {"side": chosen.side, "steps": chosen.steps, "batch": chosen.batch}
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "photographs"
        prepare(chosen.folder, data, chosen.side)
        results["others"] = others(data / "test")
        print(results["others"], flush=True)
        for name, margin in WAYS.items():
            settings = (
                *NETWORK, f"training.steps={chosen.steps}", f"training.batch={chosen.batch}",
                f"training.validate_every={chosen.steps}", "training.validation_examples=40",
            )  # fmt: skip
            options = vlb.TrainOptions(crop=CROP, margin=margin, overrides=settings)
            wall, cpu = time.monotonic(), os.times()
            run = vlb.train("images", options, out=Path(temporary) / f"run-{margin}", data=data).run
            wall, spent = time.monotonic() - wall, os.times()
            result = vlb.evaluate(run)
            results[name] = {
                "bits_per_dim": result.bits_per_dim,
                "standard_error": result.standard_error,
                "baselines": dict(result.baselines),
                "pictures": result.things,
                "tiles": result.examples,
                "training_seconds": wall,
                "training_cpu_seconds": spent.user + spent.system - cpu.user - cpu.system,
            }
            print(name, json.dumps(results[name]), flush=True)
            if chosen.out is not None:
                chosen.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

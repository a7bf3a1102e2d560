"""Lossless compression: whole files against the bound and against other codecs.

    python benchmarks/bench_compression.py RUN [--count 1000] [--steps 1 2 4 8 16] [--lanes 4 64]
        [--counts 1 10 100] [--codecs DIR] [--json FILE]

RUN is a directory made by `vlb train`. For each number of levels T, placed as `vlb compress` does, one line: the
discrete bound at this T and kernel, the net rate of bits back, the whole file (header, initial bits and direct
examples included), the same with the model, initial bits per dimension in Bit-Swap and in top-down order, and how
long both ways took, the share of the entropy coder in it. Then file sizes by number of images and by lanes, and what
PNG, WebP, JPEG-XL (with `pip install --target DIR imagecodecs`) and LZMA make of the same images.
"""

import argparse
import io
import json
import lzma
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlb.bound import elbo
from vlb.coding import diffusion as coding
from vlb.coding.carried import bare_model, carried, numerics
from vlb.coding.cells import Uncodable
from vlb.coding.container import ArchiveReader, Header
from vlb.coding.effort import Effort, remembered
from vlb.coding.reading import Rows, contents
from vlb.coding.sequence import SequenceCodec
from vlb.coding.sources import NPY, Array
from vlb.coding.writing import Options, write_archive
from vlb.commands.process import keep_freed_memory
from vlb.evaluation import evaluate
from vlb.models.diffusion import DiffusionModel
from vlb.runs import Run

LOG2 = math.log(2)


class Clock:
    """Time spent in a model's network."""

    def __init__(self, model: DiffusionModel) -> None:
        self.seconds = 0.0
        ask = model.predict

        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            answer = ask(*arguments)
            self.seconds += time.perf_counter() - started
            return answer

        model.predict = timed  # type: ignore[method-assign]


def discrete_bound(
    model: DiffusionModel, chosen: coding.DiffusionSettings, x: np.ndarray, draws: int
) -> tuple[float, float]:
    """Bits per dimension, and the standard error over draws of the latents."""
    hierarchy = coding.discretised(model, chosen)
    totals = []
    for seed in range(draws):
        generator, total = torch.Generator().manual_seed(seed), 0.0
        for start in range(0, len(x), 250):
            part = torch.tensor(x[start : start + 250])
            with torch.no_grad():
                total += elbo(hierarchy, hierarchy.infer(part), part, generator).total.sum().item()
        totals.append(total / x.size / LOG2)
    return float(np.mean(totals)), float(np.std(totals, ddof=1) / math.sqrt(draws)) if draws > 1 else math.nan


def whole_file(codec: SequenceCodec, header: Header, x: np.ndarray, clock: Clock) -> dict[str, Any]:
    """Write and read an archive of the array x; sizes, rates and times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.vlb"
        clock.seconds = 0.0
        items = iter([Array("test.npy", "", NPY, x)])
        summary = write_archive(path, header, codec, items, None, Options(verify=False))
        encoding, network = summary.seconds, clock.seconds
        started = time.perf_counter()
        rows = [part.rows for _, part in contents(ArchiveReader(path), codec) if isinstance(part, Rows)]
        decoding = time.perf_counter() - started
        assert np.array_equal(np.concatenate(rows), x), "decoded other values"
    megabytes = x.nbytes / 1e6
    return {
        "bytes": summary.bytes_out,
        "gross": summary.gross,
        "net": summary.net(math.prod(codec.shape)),
        "direct": sum(account.direct for account in summary.accounts),
        "encode_mb_s": megabytes / encoding,
        "decode_mb_s": megabytes / decoding,
        "coder_share": 1 - network / encoding,
    }


def mosaic(x: np.ndarray) -> np.ndarray:
    """All images as one, (H, W) or (H, W, 3)."""
    columns = math.ceil(math.sqrt(len(x)))
    rows = math.ceil(len(x) / columns)
    padded = np.zeros((rows * columns, *x.shape[1:]), x.dtype)
    padded[: len(x)] = x
    c, h, w = x.shape[1:]
    grid = padded.reshape(rows, columns, c, h, w).transpose(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
    return np.ascontiguousarray(grid[..., 0] if c == 1 else grid)


def other_codecs(x: np.ndarray, folder: Path | None) -> dict[str, float]:
    """Bits per dimension of the same images, each by itself and as one mosaic."""

    def pillow(format_: str, **options: Any) -> Callable[[np.ndarray], int]:
        def encode(image: np.ndarray) -> int:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format_, **options)
            return buffer.tell()

        return encode

    encoders: dict[str, Callable[[np.ndarray], int]] = {
        "PNG": pillow("PNG", optimize=True),
        "WebP": pillow("WEBP", lossless=True, quality=100, method=6),
    }
    if folder is not None:
        sys.path.append(str(folder))
        import imagecodecs

        encoders["JPEG-XL"] = lambda image: len(imagecodecs.jpegxl_encode(image, lossless=True, effort=9))
    singles = [mosaic(image[None]) for image in x]
    sizes = {"LZMA of all": 8 * len(lzma.compress(x.tobytes(), preset=9 | lzma.PRESET_EXTREME)) / x.size}
    for name, encode in encoders.items():
        sizes[f"{name}, single"] = 8 * sum(map(encode, singles)) / x.size
        sizes[f"{name}, mosaic"] = 8 * encode(mosaic(x)) / x.size
    return sizes


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    arguments.add_argument("--lanes", type=int, nargs="*", default=[4, 64])
    arguments.add_argument("--counts", type=int, nargs="*", default=[1, 3, 10, 30, 100])
    arguments.add_argument("--draws", type=int, default=2)
    arguments.add_argument("--passes", type=int, default=32)
    arguments.add_argument("--codecs", type=Path)
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    keep_freed_memory()
    run = Run.open(options.run)
    data = run.data()
    x = data.test.x[: options.count]
    plain, digest = bare_model(run)
    clock = Clock(plain)
    model_bytes = len(carried(run))
    validation = torch.from_numpy(data.validation.x[:256].copy())
    results: dict[str, Any] = {"images": len(x), "model_bytes": model_bytes}

    continuous = evaluate(run.model(data), type(data.test)(x), passes=options.passes)
    results["continuous"] = continuous.bits_per_dim
    print(f"{len(x)} images; continuous-time bound {continuous.bits_per_dim:.4f} bits/dim "
          f"(Monte Carlo {continuous.se_monte_carlo:.4f}); model {model_bytes:,} bytes", flush=True)  # fmt: skip
    if not options.counts or max(options.counts) < len(x):
        options.counts = [*options.counts, len(x)]

    def ready(steps: int, lanes: int = 64) -> tuple[coding.DiffusionSettings, SequenceCodec, Header]:
        chosen = remembered(run.path, digest, plain, validation, Effort(steps, lanes))
        header = Header(digest, False, plain.shape, data.levels, chosen, numerics("cpu"))
        return chosen, chosen.codec(plain), header

    print(
        "T    kernel    bound  ±      net     file    +model  direct  "
        "initial/dim: climb  descend  MB/s enc  dec     coder"
    )
    table = []
    for steps in options.steps:
        chosen, codec, header = ready(steps)
        bound, error = discrete_bound(plain, chosen, x, options.draws)
        line = {"steps": steps, "kernel": coding.KERNEL_NAMES[chosen.kernel], "bound": bound, "error": error}
        line |= whole_file(codec, header, x, clock)
        line["with_model"] = line["gross"] + 8 * model_bytes / x.size
        probe = x[:8]
        line["initial_climbing"] = codec.probe(probe)[0] / probe.size
        try:
            line["initial_descending"] = coding.top_down(plain, chosen).probe(probe)[0] / probe.size
        except Uncodable:
            line["initial_descending"] = math.nan
        table.append(line)
        print("{steps:<4} {kernel:<9} {bound:.4f} {error:.4f} {net:.4f}  {gross:.4f}  {with_model:<7.1f} {direct:<7} "
              "{initial_climbing:<19.2f} {initial_descending:<8.2f} {encode_mb_s:.5f} {decode_mb_s:.5f} "
              "{coder_share:.0%}"
              .format(**line), flush=True)  # fmt: skip
    results["steps"] = table

    default = options.steps[-1] if 8 not in options.steps else 8
    results["counts"] = {}
    for count in options.counts:
        _, codec, header = ready(default)
        size = whole_file(codec, header, x[:count], clock)["bytes"]
        others = {name: rate * x[:count].size / 8 for name, rate in other_codecs(x[:count], options.codecs).items()}
        results["counts"][count] = {"vlb": size, **others}
        print(f"{count} images, T = {default}: {size:,} bytes, {8 * size / x[:count].size:.4f} bits/dim; others: "
              + ", ".join(f"{name} {int(value):,}" for name, value in others.items()), flush=True)  # fmt: skip
    results["lanes"] = {}
    for lanes in options.lanes:
        _, codec, header = ready(default, lanes)
        line = whole_file(codec, header, x, clock)
        results["lanes"][lanes] = line
        print(f"{lanes} lanes, T = {default}: file {line['gross']:.4f} bits/dim, "
              f"{line['encode_mb_s']:.5f} MB/s encoding, {line['decode_mb_s']:.5f} decoding", flush=True)  # fmt: skip
    results["others"] = other_codecs(x, options.codecs)
    for name, rate in results["others"].items():
        print(f"{name}: {rate:.4f} bits/dim")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

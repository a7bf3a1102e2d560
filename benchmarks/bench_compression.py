"""Lossless compression: whole files against the bound and against other codecs, a part at a time.

    python benchmarks/bench_compression.py [RUN] [PART] [--count 1000] [--steps 8] [--lanes 64] [--tries 1]

RUN is a directory made by `vlb train`, of a diffusion model, runs/demo by default. PART is one of

    headline  the test set at one T: bound, net rate, whole file, other codecs' files
    steps     T against bound, rate, initial bits in both orders, speed and the entropy coder's share
    counts    file size against the number of images, and the break-even with other codecs
    lanes     examples coded at once, and codes of each batch to choose from, against rate and speed
    spacing   the latents' grid against net rate and initial bits
    others    the other codecs alone

Levels are placed as `vlb compress` does (kept in RUN/coding.json). Everything is decoded again and compared.
"""

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from other_codecs import sizes

from vlb.base.memory import keep_freed_memory
from vlb.base.walk import gather
from vlb.coding import diffusion as coding
from vlb.coding.carried import bare_model, numerics
from vlb.coding.cells import Uncodable
from vlb.coding.container import ArchiveReader
from vlb.coding.contents import Data
from vlb.coding.effort import remembered
from vlb.coding.header import Header
from vlb.coding.models import Measuring
from vlb.coding.reading import contents
from vlb.coding.sequence import Lanes
from vlb.coding.stack import BitStack
from vlb.coding.writing import Options, write_archive
from vlb.core.bound import elbo
from vlb.core.condition import UNCONDITIONAL
from vlb.data import Dataset
from vlb.data.formats import FORMATS
from vlb.measure.evaluation import measure_bound
from vlb.models.diffusion.model import DiffusionModel
from vlb.store.carried import carried
from vlb.store.runs import Run

LOG2 = math.log(2)


class Clock:
    """Time spent in a model's network."""

    def __init__(self, model: DiffusionModel) -> None:
        self.seconds = 0.0
        ask = model.denoise

        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            answer = ask(*arguments)
            self.seconds += time.perf_counter() - started
            return answer

        model.denoise = timed  # type: ignore[method-assign]


@dataclass(frozen=True)
class Bench:
    """A run, its data, its model ready for coding."""

    run: Run
    data: Dataset
    model: DiffusionModel
    digest: bytes
    clock: Clock

    @classmethod
    def open(cls, path: Path) -> "Bench":
        run = Run.open(path)
        model, digest, _ = bare_model(run)
        assert isinstance(model, DiffusionModel)
        return cls(run, run.data(), model, digest, Clock(model))

    def settings(self, steps: int, lanes: int, tries: int) -> coding.DiffusionSettings:
        validation = torch.from_numpy(self.data.validation.x[:256].copy())
        measuring = Measuring(self.run.path, self.digest, lambda: (validation, UNCONDITIONAL))
        return remembered(self.model, measuring, steps, Lanes(lanes, tries))

    def bound(self, chosen: coding.DiffusionSettings, x: np.ndarray, draws: int) -> tuple[float, float]:
        """The discrete bound in bits/dim, and its standard error over draws of the latents."""
        hierarchy, totals = coding.discretised(self.model, chosen), []
        for seed in range(draws):
            generator, total = torch.Generator().manual_seed(seed), 0.0
            for start in range(0, len(x), 100):
                part = torch.tensor(x[start : start + 100])
                with torch.no_grad():
                    total += elbo(hierarchy, hierarchy.infer(part), part, generator).total.sum().item()
            totals.append(total / x.size / LOG2)
        return float(np.mean(totals)), float(np.std(totals, ddof=1) / math.sqrt(draws)) if draws > 1 else math.nan

    def file(self, chosen: coding.DiffusionSettings, x: np.ndarray) -> dict[str, Any]:
        """Write and read an archive of the array x; sizes, rates and times."""
        codec = chosen.codec(self.model)
        header = Header(self.digest, False, self.model.shape, self.data.levels, chosen, numerics("cpu"))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.vlb"
            self.clock.seconds = 0.0
            np.save(Path(folder) / "test.npy", x)
            found = gather([Path(folder) / "test.npy"]).files
            summary = write_archive(path, header, codec, found, FORMATS, None, Options(verify=False))
            network = self.clock.seconds
            started = time.perf_counter()
            rows = [part.x for _, part in contents(ArchiveReader(path), codec) if isinstance(part, Data)]
            decoding = time.perf_counter() - started
        assert np.array_equal(np.concatenate(rows), x), "decoded other values"
        return {
            "bytes": summary.bytes_out,
            "gross": summary.gross,
            "net": summary.net,
            "direct": sum(account.direct for account in summary.accounts),
            "initial": sum(account.initial for account in summary.accounts),
            "encode_mb_s": x.nbytes / 1e6 / summary.seconds,
            "decode_mb_s": x.nbytes / 1e6 / decoding,
            "coder_share": 1 - network / summary.seconds,
        }


def headline(bench: Bench, x: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """Bound, net rate, whole file and other codecs at one T."""
    steps = options.steps[0]
    chosen = bench.settings(steps, options.lanes[0], options.tries[0])
    bound, error = bench.bound(chosen, x, options.draws)
    line = bench.file(chosen, x)
    model_bytes = len(carried(bench.run.trained))
    result = {"images": len(x), "steps": steps, "bound": bound, "error": error, "model_bytes": model_bytes} | line
    print(f"{len(x)} images, T = {steps}, {coding.NUMBERED[chosen.kernel]}: bound {bound:.4f} ± {error:.4f}, "
          f"net {line['net']:.4f} ({line['net'] / bound - 1:+.2%}), whole file {line['gross']:.4f} bits/dim "
          f"({line['bytes']:,} bytes; with the model {line['bytes'] + model_bytes:,}); {line['encode_mb_s']:.5f} MB/s "
          f"encoding, {line['decode_mb_s']:.5f} decoding; coder {line['coder_share']:.0%}", flush=True)  # fmt: skip
    if options.passes:
        continuous = measure_bound(bench.run.model(), type(bench.data.test)(x), passes=options.passes)
        result |= {"continuous": continuous.bits_per_dim, "continuous_error": continuous.se_monte_carlo}
        print(f"continuous-time bound {continuous.bits_per_dim:.4f} ± {continuous.se_monte_carlo:.4f} (Monte Carlo)")
    result["others"] = others(bench, x, options)
    return result


def by_steps(bench: Bench, x: np.ndarray, options: argparse.Namespace) -> list[dict[str, Any]]:
    """T against everything."""
    print("T    kernel    bound  ±      net    file   initial bits/dim: swap, top-down  MB/s enc, dec    coder")
    table = []
    for steps in options.steps:
        chosen = bench.settings(steps, options.lanes[0], options.tries[0])
        bound, error = bench.bound(chosen, x, options.draws)
        probe = x[:8]
        line = {"steps": steps, "kernel": str(coding.NUMBERED[chosen.kernel]), "bound": bound, "error": error}
        line |= bench.file(chosen, x)
        line["swap"] = chosen.codec(bench.model).probe(probe)[0] / probe.size
        try:
            line["top_down"] = coding.top_down(bench.model, chosen).probe(probe)[0] / probe.size
        except Uncodable:
            line["top_down"] = math.nan
        table.append(line)
        print("{steps:<4} {kernel:<9} {bound:.4f} {error:.4f} {net:.4f} {gross:.4f} {swap:<18.2f} {top_down:<15.2f}"
              "{encode_mb_s:.5f} {decode_mb_s:.5f} {coder_share:.0%}".format(**line), flush=True)  # fmt: skip
    return table


def by_count(bench: Bench, x: np.ndarray, options: argparse.Namespace) -> dict[int, dict[str, int]]:
    """File size against the number of images."""
    chosen, table = bench.settings(options.steps[0], options.lanes[0], options.tries[0]), {}
    for count in [n for n in (1, 2, 3, 5, 10, 30, 100, 300, 1000, 3000) if n < len(x)] + [len(x)]:
        line = {"vlb": bench.file(chosen, x[:count])["bytes"]} | sizes(x[:count])
        table[count] = line
        best = min((size, name) for name, size in line.items() if name != "vlb")
        print(f"{count} images: {line['vlb']:,} bytes, {8 * line['vlb'] / x[:count].size:.4f} bits/dim; "
              f"best other: {best[1]}, {best[0]:,}; "
              + ", ".join(f"{name} {size:,}" for name, size in line.items() if name != "vlb"), flush=True)  # fmt: skip
    return table


def by_lanes(bench: Bench, x: np.ndarray, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Examples coded at once against rate and speed."""
    table = []
    for lanes, tries in product(options.lanes, options.tries):
        line = {"lanes": lanes, "tries": tries} | bench.file(bench.settings(options.steps[0], lanes, tries), x)
        table.append(line)
        print("{lanes} lanes, {tries} tries: net {net:.4f}, file {gross:.4f} bits/dim, {bytes:,} bytes, "
              "{encode_mb_s:.5f} MB/s encoding, {decode_mb_s:.5f} decoding, coder {coder_share:.0%}".format(**line),
              flush=True)  # fmt: skip
    return table


def by_spacing(bench: Bench, x: np.ndarray, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The latents' grid against the net rate (on a stack of random bits) and the bits to begin with."""
    table = []
    words = np.random.default_rng(0).integers(1, 2**32, 40 * x.size // 32 + 10_000, dtype=np.uint32).tobytes()
    for spacing in (16, 32, 64, 96, 128):
        chosen = replace(bench.settings(options.steps[0], options.lanes[0], options.tries[0]), spacing=spacing)
        codec, stack = chosen.codec(bench.model), BitStack(words)
        before = stack.bits
        for start in range(0, len(x), options.lanes[0]):
            codec.batch.encode(stack, x[start : start + options.lanes[0]])
        line = {"spacing": spacing / 64, "net": (stack.bits - before) / x.size}
        line["initial"] = codec.probe(x[:8])[0] / x[:8].size
        table.append(line)
        print("spacing {spacing} deviations: net {net:.4f}, initial {initial:.2f} bits/dim".format(**line), flush=True)
    return table


def others(bench: Bench, x: np.ndarray, options: argparse.Namespace) -> dict[str, int]:
    """The other codecs alone."""
    found = sizes(x)
    for name, size in found.items():
        print(f"{name}: {size:,} bytes, {8 * size / x.size:.4f} bits/dim", flush=True)
    return found


PARTS = {
    "headline": headline,
    "steps": by_steps,
    "counts": by_count,
    "lanes": by_lanes,
    "spacing": by_spacing,
    "others": others,
}


def main() -> None:
    whole = partial(argparse.ArgumentParser, description=__doc__)
    arguments = whole(formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    arguments.add_argument("part", choices=PARTS, nargs="?", default="headline")
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--steps", type=int, nargs="+", default=[8])
    arguments.add_argument("--lanes", type=int, nargs="+", default=[64])
    arguments.add_argument("--tries", type=int, nargs="+", default=[1], help="codes of each batch to choose from")
    arguments.add_argument("--draws", type=int, default=2)
    arguments.add_argument("--passes", type=int, default=0, help="of the continuous-time bound, for `headline`")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    keep_freed_memory()
    bench = Bench.open(options.run)
    result = PARTS[options.part](bench, bench.data.test.x[: options.count], options)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

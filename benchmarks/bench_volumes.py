"""Held-out shapes under a trained model, beside independent voxels and lzma: bits per voxel, by the bound and in files.

    vlb train shapes --out runs/shapes
    python benchmarks/bench_volumes.py runs/shapes --examples 100

The bound is of so many examples of the test split, drawn at random, the archive of its first as one .npy file of
booleans; it is restored and compared, and the model is not in it. lzma, beside it, is of the file as it is, and of the
same voxels packed to eight in a byte.
"""

import argparse
import json
import lzma
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np

import vlb
from vlb.base.files import write_text
from vlb.store import checkpoint
from vlb.store.runs import Run

RESULTS = Path(__file__).parent / "results" / "volumes.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--effort", default="normal")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    bound = vlb.evaluate(run, "test", vlb.EvaluateOptions(examples=arguments.examples))
    x = run.data().test.x[: arguments.examples].astype(bool)
    stream = BytesIO()
    np.save(stream, x[:, 0])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "x.npy").write_bytes(stream.getvalue())
        options = vlb.CompressOptions(effort=arguments.effort)
        vlb.compress(run, [folder / "x.npy"], folder / "a.vlb", options)
        vlb.decompress(folder / "a.vlb", folder / "out", run=run.path)
        if (folder / "out" / "x.npy").read_bytes() != stream.getvalue():
            raise AssertionError("the file did not come back")
        sizes = {"vlb": (folder / "a.vlb").stat().st_size}
    extreme = 9 | lzma.PRESET_EXTREME
    sizes["xz -9e"] = len(lzma.compress(stream.getvalue(), preset=extreme))
    sizes["xz -9e, eight voxels in a byte"] = len(lzma.compress(np.packbits(x).tobytes(), preset=extreme))
    found = {
        "trained": f"{checkpoint.read(run.chosen).state['step']} steps of {run.experiment.training.batch}",
        "bound, bits per voxel": [round(bound.bits_per_dim, 4), round(bound.standard_error, 4)],
        "baselines, bits per voxel": {name: round(value, 4) for name, value in bound.baselines.items()},
        "of examples": bound.examples,
        "archive of examples": len(x),
        "effort": arguments.effort,
        "files, bits per voxel": {name: round(8 * size / x.size, 4) for name, size in sizes.items()},
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))
    write_text(RESULTS, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

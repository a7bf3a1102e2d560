"""Held-out prompts as files under a trained model, beside FLAC at its best and xz: bits per sample.

    vlb train prompts --out runs/prompts
    python benchmarks/bench_sound.py runs/prompts --files 20

The recordings are the first of the run's test split. Every archive is restored and compared; the model is not in it.
FLAC is written by soundfile, which is libFLAC at compression level 8. What was measured is added to the results file.
"""

import argparse
import io
import json
import lzma
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

import vlb
from vlb.base.files import write_text
from vlb.data.cache import obtain
from vlb.data.formats.wav import from_mu_law, sound, to_mu_law
from vlb.data.prompts import PACKED, PROMPTS, RATE, unpacked
from vlb.store.runs import Run

RESULTS = Path(__file__).parent / "results" / "sound.json"


def held_out(run: Run, count: int) -> dict[str, np.ndarray]:
    """The first recordings of the test split, uint16 (1, time)."""
    wholes = run.data().test.whole
    assert wholes is not None
    everything = list(unpacked(obtain(PROMPTS, None)[PACKED]).items())
    chosen = list(dict.fromkeys(wholes.tolist()))[:count]
    return {everything[number][0].name: everything[number][1] for number in chosen}


def flac(sounds: list[np.ndarray]) -> int:
    """Bytes of a FLAC file of each."""
    total = 0
    for x in sounds:
        stream = io.BytesIO()
        samples = (x.T ^ (1 << 15)).view(np.int16)
        soundfile.write(stream, samples, RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
        total += len(stream.getvalue())
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--effort", default="normal")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    mu_law = run.experiment.data.mu_law
    sounds = held_out(run, arguments.files)
    samples = sum(x.size for x in sounds.values())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        for name, x in sounds.items():
            (folder / "in" / name).write_bytes(sound((to_mu_law(x) if mu_law else x).T.copy(), RATE, mu_law))
        started = time.perf_counter()
        done = vlb.compress(run, [folder / "in"], folder / "a.vlb", vlb.CompressOptions(effort=arguments.effort))
        seconds = time.perf_counter() - started
        vlb.decompress(folder / "a.vlb", folder / "out", run=run.path)
        contents = {path: path.read_bytes() for path in sorted((folder / "in").iterdir())}
        for path, content in contents.items():
            if (folder / "out" / "in" / path.name).read_bytes() != content:
                raise AssertionError(f"{path.name} did not come back")
        sizes = {"vlb": (folder / "a.vlb").stat().st_size}
    sizes["xz -9e, all in one"] = len(lzma.compress(b"".join(contents.values()), preset=9 | lzma.PRESET_EXTREME))
    heard = list(sounds.values()) if not mu_law else [from_mu_law(to_mu_law(x)) for x in sounds.values()]
    sizes["FLAC, level 8" + (", of the same amplitudes" if mu_law else "")] = flac(heard)
    found = {
        "kind": "8-bit µ-law" if mu_law else "16 bits",
        "files": len(sounds),
        "samples": samples,
        "trained": f"{run.experiment.training.steps} steps of {run.experiment.training.batch} windows of "
        f"{run.experiment.data.window}",
        "effort": arguments.effort,
        "of which in windows": done.summary.values,
        "bits per sample": {name: round(8 * size / samples, 3) for name, size in sizes.items()},
        "seconds, verification included": round(seconds, 1),
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))
    known = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else []
    write_text(RESULTS, json.dumps([*known, found], indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

"""Held-out prompts under models of 16 bits and of 8-bit µ-law: bits per sample, beside FLAC at its best and xz.

    python benchmarks/bench_sound.py [--steps 4000] [--files 20] [--set model.blocks=2 …] --runs DIR

Both models are trained if they are not in --runs yet, or gone on with, evaluated on windows of the test split, and
code its first recordings. Every archive is restored and compared; the model is not in it. FLAC is written by soundfile,
which is libFLAC at compression level 8. What the results file holds of as many steps is not done again; `--table`
prints it.
"""

import argparse
import io
import json
import lzma
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import vlb
from vlb.base.files import write_text
from vlb.base.memory import keep_freed_memory
from vlb.data.cache import obtain
from vlb.data.formats.wav import from_mu_law, sound, to_mu_law
from vlb.data.prompts import PACKED, PROMPTS, RATE, unpacked
from vlb.store.runs import Run

RESULTS = Path(__file__).parent / "results" / "sound.json"
WAYS = {"16 bits": (512, False), "8-bit µ-law": (1024, True)}  # window, µ-law


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


def cpu() -> float:
    """Seconds of this process so far."""
    spent = os.times()
    return spent.user + spent.system


def trained(out: Path, way: str, steps: int, overrides: Sequence[str]) -> Run:
    """A run of a way, gone on with where it was stopped."""
    window, mu_law = WAYS[way]
    settings = (f"training.steps={steps}", "training.checkpoint_every=50", *overrides)
    if out.exists():
        vlb.train("prompts", out=out, resume=True)
    else:
        vlb.train("prompts", vlb.TrainOptions(window=window, mu_law=mu_law, overrides=settings), out=out)
    return Run.open(out)


def measured(run: Run, files: int, recordings: int, effort: str) -> dict[str, Any]:
    """The bound of windows of the test split, and what becomes of its first recordings as files."""
    started, mu_law = cpu(), run.experiment.data.mu_law
    bound = vlb.evaluate(run, options=vlb.EvaluateOptions(examples=recordings))
    evaluated = cpu()
    sounds = held_out(run, files)
    samples = sum(x.size for x in sounds.values())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        for name, x in sounds.items():
            (folder / "in" / name).write_bytes(sound((to_mu_law(x) if mu_law else x).T.copy(), RATE, mu_law))
        done = vlb.compress(run, [folder / "in"], folder / "a.vlb", vlb.CompressOptions(effort=effort))
        vlb.decompress(folder / "a.vlb", folder / "out", run=run.path)
        contents = {path: path.read_bytes() for path in sorted((folder / "in").iterdir())}
        for path, content in contents.items():
            if (folder / "out" / "in" / path.name).read_bytes() != content:
                raise AssertionError(f"{path.name} did not come back")
        sizes = {"vlb": (folder / "a.vlb").stat().st_size}
    sizes["xz -9e, all in one"] = len(lzma.compress(b"".join(contents.values()), preset=9 | lzma.PRESET_EXTREME))
    heard = list(sounds.values()) if not mu_law else [from_mu_law(to_mu_law(x)) for x in sounds.values()]
    sizes["FLAC, level 8" + (", of the same amplitudes" if mu_law else "")] = flac(heard)
    return {
        "bound, bits per sample": [round(bound.bits_per_dim, 4), round(bound.standard_error, 4)],
        "of windows": bound.examples,
        "terms, bits per sample": {path[0]: round(value, 4) for path, value in bound.terms.items()},
        "files": len(sounds),
        "samples": samples,
        "of which in windows": done.summary.values,
        "steps T": done.settings.steps,
        "said": done.summary.notes,
        "bits per sample": {name: round(8 * size / samples, 3) for name, size in sizes.items()},
        "evaluation CPU seconds": round(evaluated - started),
        "coding CPU seconds, verification included": round(cpu() - evaluated),
    }


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = ["| | bound | as files |", "|---|---|---|"]
    for way, found in results.items():
        own, rates = "{:.3f} ± {:.3f}".format(*found["bound, bits per sample"]), dict(found["bits per sample"])
        lines.append(f"| {way}: vlb, T = {found['steps T']} | {own} | {rates.pop('vlb'):.2f} |")
        lines += [f"| {way}: {name} | | {rate:.2f} |" for name, rate in rates.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="a folder in which runs are kept, and found again")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--recordings", type=int, default=50, help="of the test split, whose windows are evaluated")
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="NAME=VALUE")
    parser.add_argument("--way", action="append", choices=list(WAYS), help="only this one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results, and do nothing")
    chosen = parser.parse_args()
    keep_freed_memory()
    results = json.loads(chosen.out.read_text("utf-8")) if chosen.out.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        for way in () if chosen.table else chosen.way or WAYS:
            how = {"steps": chosen.steps, "set": chosen.overrides}
            if all(results.get(way, {}).get(name) == value for name, value in how.items()):
                continue
            started = cpu()
            folder = (chosen.runs or Path(temporary)) / ("mu-law" if WAYS[way][1] else "linear")
            run = trained(folder, way, chosen.steps, chosen.overrides)
            seconds = {"training CPU seconds, of the last start": round(cpu() - started)}
            results[way] = how | seconds | measured(run, chosen.files, chosen.recordings, chosen.effort)
            print(way, json.dumps(results[way], ensure_ascii=False), flush=True)
            write_text(chosen.out, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()

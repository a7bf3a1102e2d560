"""Damage files in every way that we could think of, and read them: is the outcome ever other than truth or refusal?

    python benchmarks/fuzz_files.py --archives 1000000 --others 100000 --seconds 1e6 [--seed 0] [--from 0] [--json FILE]

Archives of every kind of code and with files of every format, and the files of runs (`fuzz_samples.py`), are damaged
(`fuzz_mutations.py`), half of them with all checksums made right again, and read as the commands read them, in
processes with a limit on time and on memory. Each is one of

    refused   with a sentence that a person can read (`UserError`)
    same      read to exactly what was written, byte for byte
    other     read to something else, by a file whose checksums were made right (or that has none): it is another file
    wrong     read to something else, by a file whose checksums are those of what was written
    crash     any other exception, or a process that died
    hang      longer than --limit seconds
    memory    more than the stated 256 MiB and 1,000 times the bytes read

Item i of a seed is the same file on every machine that makes the same samples: to go on with a run, say --from. Files
that are wrong, crash, hang or take too much are kept in --keep. The exit status is 1 if there is any.
"""

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from fuzz_mutations import damaged
from fuzz_reading import Item, Sample, of_archives, of_run_files
from fuzz_samples import KINDS, archives, run_files

from vlb.base.errors import UserError
from vlb.base.growth import most
from vlb.coding.allowance import RATIO

OUTCOMES = ("refused", "same", "other", "wrong", "crash", "hang", "memory")
BAD = ("wrong", "crash", "hang", "memory")
ADDRESS_SPACE = 6 << 30  # beyond what the process has when it begins
REPORTED = 20  # items between two reports of a worker


@dataclass
class Tally:
    """What was found."""

    counts: Counter[tuple[str, bool, str]] = field(default_factory=Counter)
    longest: tuple[float, int] = (0.0, 0)  # seconds of the processor, and which item
    grown: tuple[float, int] = (0.0, 0)  # the largest share of what an item may take, and which

    def add(self, other: "Tally") -> None:
        """What another process found."""
        self.counts += other.counts
        self.longest, self.grown = max(self.longest, other.longest), max(self.grown, other.grown)


def item(samples: list[Sample], seed: int, number: int, folder: Path) -> tuple[Sample, Item]:
    """Damaged file `number` of a seed: another than any sample, half of them with checksums that are right."""
    rng = np.random.default_rng((seed, number))
    sample = samples[int(rng.integers(len(samples)))]
    while True:
        if honest := bool(rng.random() < 0.5):
            content = damaged(sample.original, samples[int(rng.integers(len(samples)))].original, rng)
        else:
            content = sample.make(rng, folder)
        if all(content != other.original for other in samples):
            return sample, Item(sample.kind, content, honest)


class Watched:
    """A process that reads items `first`, `first` + `step`, …, and what is seen of it from outside."""

    def __init__(self, samples: list[Sample], seed: int, first: int, stop: int, step: int, keep: Path) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=memory())  # here, for a process that is killed cannot remove it
        context = multiprocessing.get_context("fork")
        self.number = context.Value("q", first, lock=False)
        self.begun = context.Value("d", time.monotonic(), lock=False)
        self.receiver, sender = context.Pipe(duplex=False)
        arguments = (
            samples,
            seed,
            range(first, stop, step),
            keep,
            Path(self.folder.name),
            self.number,
            self.begun,
            sender,
        )
        self.process: ForkProcess = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        sender.close()
        self.tally = Tally()

    def listen(self) -> None:
        """Take in what it has said."""
        with contextlib.suppress(EOFError):
            while self.receiver.poll():
                self.tally.add(self.receiver.recv())


def work(
    samples: list[Sample], seed: int, numbers: range, keep: Path, made: Path, at: Any, begun: Any, sender: Any
) -> None:
    """Read items, and report now and then."""
    space = status("VmSize") + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    gc.freeze()  # what was there before is not looked through again and again
    tally, folder = Tally(), made / "item"
    for done, number in enumerate(numbers):
        folder.mkdir()
        at.value, begun.value = number, time.monotonic()
        sample, one = item(samples, seed, number, folder)
        before, started = status("VmRSS"), time.process_time()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        said = ""
        try:
            outcome = sample.read(one, folder, number)
        except UserError:
            outcome = "refused"
        except MemoryError:
            outcome, said = "memory", traceback.format_exc()
        except Exception:
            outcome, said = "crash", traceback.format_exc()
        share = (status("VmHWM") - before) / most(len(one.content) + sample.weighs, RATIO)
        if share > 1:
            outcome, said = "memory", f"{share:.3f} of what it may take"
        if outcome in BAD:
            store(keep, one, number, outcome, said)
        tally.counts[sample.kind, one.honest, outcome] += 1
        tally.longest = max(tally.longest, (time.process_time() - started, number))
        tally.grown = max(tally.grown, (share, number))
        shutil.rmtree(folder)
        if done % REPORTED == REPORTED - 1:
            sender.send(tally)
            tally = Tally()
    sender.send(tally)


def store(keep: Path, one: Item, number: int, outcome: str, said: str) -> None:
    """Keep a file that should not be, and what was said of it."""
    keep.mkdir(parents=True, exist_ok=True)
    name = f"{outcome}-{number}-{re.sub('[^a-z0-9]+', '-', one.kind.lower())}"
    (keep / name).write_bytes(one.content)
    (keep / f"{name}.txt").write_text(f"{one.kind}, honest: {one.honest}\n{said}")


def status(name: str) -> int:
    """What the system says of this process's memory, in bytes."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def memory() -> str | None:
    """A folder in memory, where there is one: disks are slow at files that are written whole."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def fuzzed(
    samples: list[Sample], seed: int, first: int, count: int, seconds: float, limit: float, workers: int, keep: Path
) -> Tally:
    """Read `count` items from `first` on, or as many as `seconds` allow."""
    tally, deadline, stop = Tally(), time.monotonic() + seconds, first + count
    running = [Watched(samples, seed, first + k, stop, workers, keep) for k in range(min(workers, count))]
    while running:
        time.sleep(0.05)
        for place, watched in enumerate(list(running)):
            late = time.monotonic() > deadline
            hung = time.monotonic() - watched.begun.value > limit
            alive = watched.process.is_alive()
            watched.listen()
            if alive and not hung and not late:
                continue
            watched.process.kill()
            watched.process.join()
            watched.listen()
            watched.folder.cleanup()
            tally.add(watched.tally)
            number = watched.number.value
            running[place] = None  # type: ignore[call-overload]
            if late or watched.process.exitcode == 0:
                continue
            outcome = "hang" if alive else "crash"
            with tempfile.TemporaryDirectory() as folder:
                sample, one = item(samples, seed, number, Path(folder))
            store(keep, one, number, outcome, f"exit status {watched.process.exitcode}")
            tally.counts[sample.kind, one.honest, outcome] += 1
            if number + workers < stop:
                running[place] = Watched(samples, seed, number + workers, stop, workers, keep)
        running = [watched for watched in running if watched]
    return tally


def shown(title: str, tally: Tally) -> dict[str, Any]:
    """Print a table; the same as JSON values."""
    (seconds, slow), (share, large) = tally.longest, tally.grown
    print(
        f"\n{title}: {tally.counts.total():,} damaged files; the longest, {slow}, {seconds:.1f} s of a processor, "
        f"the largest, {large}, {100 * share:.0f} % of what it may take"
    )
    kinds = sorted({(kind, honest) for kind, honest, _ in tally.counts})
    print(f"{'':44}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
    rows = {}
    for kind, honest in kinds:
        row = {outcome: tally.counts[kind, honest, outcome] for outcome in OUTCOMES}
        name = f"{kind}; {'damaged' if honest else 'made right again'}"
        rows[name] = row
        print(f"{name:44}" + "".join(f"{row[outcome]:>10,}" for outcome in OUTCOMES))
    sums = {
        half: {o: sum(n for (_, h, found), n in tally.counts.items() if h == honest and found == o) for o in OUTCOMES}
        for half, honest in (("damaged", True), ("made right again", False))
    }
    for half, row in sums.items():
        print(f"{half:44}" + "".join(f"{row[outcome]:>10,}" for outcome in OUTCOMES))
    return {"total": tally.counts.total(), "sums": sums, "kinds": rows, "longest": seconds, "share": share}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Fuzz, print, and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=int, default=10_000)
    parser.add_argument("--others", type=int, default=1_000, help="checkpoints, saved values, configurations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the number of the first item")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after so many, for archives and for others")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that one file may take")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", choices=sorted(KINDS), default=list(KINDS))
    parser.add_argument("--keep", type=Path, default=Path("fuzzed"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"seed": options.seed, "first": options.first}
    with tempfile.TemporaryDirectory(dir=memory()) as made:
        whole = list(archives(Path(made), options.kinds))
        files = list(run_files(Path(made), options.kinds))
        for title, samples, count in (
            ("archives", of_archives(whole, Path(made)), options.archives),
            ("others", of_run_files(files), options.others),
        ):
            rest = options.seconds, options.limit, options.workers, options.keep / title
            tally = fuzzed(samples, options.seed, options.first, count, *rest)
            found[title] = shown(title, tally)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return found


def bad(found: dict[str, Any]) -> int:
    """How many outcomes of what `main` returned there should be none of."""
    return sum(row[o] for title in ("archives", "others") for row in found[title]["sums"].values() for o in BAD)


if __name__ == "__main__":
    sys.exit(min(1, bad(main())))

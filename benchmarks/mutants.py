"""Break the code in small ways, one at a time, and see whether the tests notice.

    python benchmarks/mutants.py --count 300 [--seed 0] [--rooms core models coding] --map FILE --json FILE [TEST ...]

A mutant is a comparison turned round, a sign, an operator, a constant or a truth value changed within a function; it
is killed if a test fails. Which tests reach which function is found by running all of them once, and kept in the file
of --map; a mutant is tried against those that reach its function, those that reach the fewest others first, until
--seconds of them have been run: the score is from below. Mutants are drawn evenly over places, a function of the seed.

It reads the checkout once, into a copy, and all happens in forks of one process (`mutating.py`). The file of --json is
gone on with: mutants that are in it are not tried again, survivors with --again; what a person has written of one
under "verdict" stays.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutating import Mutant, Watched, mutants_of

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "runs", "_build", "__pycache__", ".hypothesis")


@dataclass
class Results:
    """What became of mutants, in a file. about: of the draw; rows: by mutant."""

    path: Path
    about: dict[str, Any]
    rows: dict[Mutant, dict[str, Any]]

    @classmethod
    def read(cls, path: Path, about: dict[str, Any]) -> "Results":
        """Those of a file, none where it is not there. Ends where they are of another draw."""
        if not path.exists():
            return cls(path, about, {})
        said = json.loads(path.read_text())
        if {name: said[name] for name in about} != about:
            sys.exit(f"{path} is of other sources or another draw: give another file")
        return cls(path, about, {Mutant.said(row): row for row in said["mutants"]})

    def add(self, mutant: Mutant, outcome: str, by: str) -> None:
        """What became of one, kept and printed."""
        kept = {name: text for name, text in self.rows.get(mutant, {}).items() if name == "verdict"}
        self.rows[mutant] = {**mutant.saying(), "outcome": outcome, **({"by": by} if by else {}), **kept}
        print(f"{outcome:9s} {mutant}", flush=True)
        self.write()

    def write(self) -> None:
        """Everything, with the score."""
        self.path.write_text(
            json.dumps(
                {**self.about, **self.score(), "mutants": list(self.rows.values())}, indent=1, ensure_ascii=False
            )
            + "\n"
        )

    def score(self) -> dict[str, Any]:
        """Counts, and the share that is killed with its interval of 95 % (Wilson)."""
        from scipy.stats import binomtest

        outcomes = [row["outcome"] for row in self.rows.values()]
        count = {name: outcomes.count(name) for name in ("killed", "survived", "unreached")}
        interval = binomtest(count["killed"], max(1, len(outcomes))).proportion_ci(method="wilson")
        share = count["killed"] / max(1, len(outcomes))
        return {**count, "share": round(share, 3), "interval": [round(interval.low, 3), round(interval.high, 3)]}


def main() -> None:
    """Draw, try and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rooms", nargs="+", default=["core", "models", "coding"])
    parser.add_argument("--seconds", type=float, default=30, help="of tests per mutant, about")
    parser.add_argument("--map", type=Path, default=Path("mutants-map.jsonl"), help="which tests reach what")
    parser.add_argument("--json", type=Path, default=Path("mutants.json"))
    parser.add_argument("--again", action="store_true", help="try survivors again")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders of tests")
    options = parser.parse_intermixed_args()
    # A job in the background may be started without these, and tests that end commands by them would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    reached_by, kept = options.map.resolve(), options.json.resolve()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "vlb"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        modules = [path for room in options.rooms for path in sorted((tree / "src/vlb" / room).rglob("*.py"))]
        whole = [mutant for path in modules for mutant in mutants_of(path, tree / "src")]
        drawn = random.Random(options.seed).sample(whole, min(options.count, len(whole)))
        about = {"seed": options.seed, "rooms": options.rooms, "places": len(whole)}
        results = Results.read(kept, about)
        wanted = [
            mutant
            for mutant in drawn
            if mutant not in results.rows or (options.again and results.rows[mutant]["outcome"] != "killed")
        ]
        os.chdir(tree)
        sys.path[:0] = [str(tree / "src"), str(tree)]
        watched = Watched(tree / "src", modules, reached_by, wanted, options.seconds, results.add)
        watched.run(options.tests)
    results.write()
    score = results.score()
    low, high = score["interval"]
    print(f"{score['killed']} of {len(results.rows)} killed: {score['share']:.1%} (95 %: {low:.1%} to {high:.1%})")
    print(f"{score['unreached']} in functions that no test reached; {len(whole)} places in all")


if __name__ == "__main__":
    main()

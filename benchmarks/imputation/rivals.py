"""Imputers that need an environment of their own, for what they need contradicts what vlb does, or each other.

    python benchmarks/imputation/rivals.py DIR [NAME …]

makes DIR/NAME for each; `worker.py` runs in it, and reads and writes .npz. Which packages, see rivals/NAME.txt.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filled import Filled, from_indicators, indicators
from methods import Failed, Method
from scores import DRAWS
from sources import Table

HERE = Path(__file__).parent
LIMIT = 3600  # seconds of processor: on a busy machine a clock says little


@dataclass(frozen=True)
class Rival:
    """name: of its requirements, its environment and its function in worker.py; draws: whether it draws; tables: those
    that it is fast enough for, None: all."""

    name: str
    draws: bool
    tables: tuple[str, ...] | None = None

    def environment(self, folder: Path) -> Path:
        """Its interpreter."""
        return folder / self.name / "bin" / "python"

    def method(self, folder: Path | None) -> Method:
        def run(table: Table, gone: np.ndarray, seed: int) -> Filled:
            if folder is None:
                raise SystemExit("say with --environments where rivals.py made them")
            with tempfile.TemporaryDirectory() as place:
                asked, answer = Path(place, "asked.npz"), Path(place, "answer.npz")
                x = np.where(gone, np.nan, table.x)
                np.savez(asked, x=x, counts=table.counts, seed=seed, draws=DRAWS if self.draws else 1)
                command = [self.environment(folder), HERE / "worker.py", self.name, asked, answer, str(LIMIT)]
                made = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                if made.returncode == -signal.SIGXCPU:
                    raise Failed(f"not done after {LIMIT} seconds of processor")
                if made.returncode:
                    raise Failed((made.stderr.strip().splitlines() or [f"ended with {made.returncode}"])[-1])
                with np.load(answer) as found:
                    draws, seconds = found["draws"], float(found["seconds"])
            wide = np.stack([indicators(draw, table.counts) for draw in draws])
            mean = from_indicators(wide.mean(0), table.counts)
            return Filled(mean, seconds, draws if self.draws else None)

        return Method(run, slow=True, seeds=1, tables=self.tables)


RIVALS = {
    "miceforest": Rival("miceforest", draws=True),
    "HyperImpute": Rival("hyperimpute", draws=False),
    "ForestDiffusion": Rival("forestdiffusion", draws=True, tables=("wine", "diabetes", "phoneme")),
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", type=Path)
    words.add_argument("names", nargs="*", default=[rival.name for rival in RIVALS.values()])
    given = words.parse_args()
    for name in given.names:
        place = given.folder / name
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        made = subprocess.run([place / "bin" / "pip", "install", "-q", "-r", HERE / "rivals" / f"{name}.txt"])
        print(f"{name}: {'made' if made.returncode == 0 else 'not made, see above'}", flush=True)


if __name__ == "__main__":
    main()

"""Fill hidden cells of tables by several methods, and keep the scores, a line of JSON each.

    python benchmarks/imputation/run.py --out FILE.jsonl [--tables …] [--methods …] [--seeds 5] [--rates .1 .3 .5]
        [--mechanisms mcar mar mnar] [--environments DIR]

What FILE has already is skipped, so that a run goes on where it stopped: seed by seed, 30 % MCAR first. Slow methods
run at 30 % MCAR alone, some of them with the first seed and on few tables (`methods.py`, `rivals.py`), unless they are
named; those of `rivals.py` where it made their environments.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

from masks import MECHANISMS, USUAL, hidden
from methods import METHODS, Failed
from results import append, read
from rivals import RIVALS
from scores import DRAWS
from sources import SOURCES, installed, load

KEYS = ("table", "mechanism", "rate", "seed", "method")


def key(line: dict[str, Any]) -> tuple[Any, ...]:
    """Which run a line is of."""
    return tuple(line[name] for name in KEYS)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--tables", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    words.add_argument("--methods", nargs="+", choices=[*METHODS, *RIVALS])
    words.add_argument("--seeds", type=int, default=5)
    words.add_argument("--rates", nargs="+", type=float, default=[0.1, 0.3, 0.5])
    words.add_argument("--mechanisms", nargs="+", default=list(MECHANISMS), choices=list(MECHANISMS))
    words.add_argument("--environments", type=Path, help="where rivals.py put them")
    given = words.parse_args()
    offered = METHODS | {name: rival.method(given.environments) for name, rival in RIVALS.items()}
    methods = given.methods or list(METHODS) + [name for name in RIVALS if given.environments]
    done = {key(line) for line in read(given.out)}
    tables = [load(name) for name in installed(given.tables)]
    settings = [(mechanism, rate) for mechanism in given.mechanisms for rate in given.rates]
    settings.sort(key=lambda setting: setting != USUAL)  # first what every method runs at
    for seed, setting, table, method in itertools.product(range(given.seeds), settings, tables, methods):
        one = offered[method]
        line: dict[str, Any] = dict(zip(KEYS, (table.name, *setting, seed, method), strict=True))
        wanted = given.methods or one.usual(table.name, *setting, seed)
        if key(line) in done or not wanted or not one.takes(table):
            continue
        start = time.monotonic()
        gone = hidden(setting[0], table.x, setting[1], seed)
        line |= {"rows": table.x.shape[0], "columns": table.x.shape[1], "draws": DRAWS}
        try:
            line |= one.run(table, gone, seed).scores(table, gone)
        except Failed as reason:
            line |= {"failed": str(reason)}
        append(given.out, line)
        print(line, f"{time.monotonic() - start:.1f} s by the clock", flush=True)


if __name__ == "__main__":
    main()

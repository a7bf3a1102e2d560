"""Files of tables with gaps under their own mixture, beside xz: bytes, and bits a row beside −log2 p of the cells.

    python benchmarks/bench_table_codes.py --gaps 0.1

Each table of scikit-learn is written as a CSV of rounded numbers, cells are hidden at random, the recipe `table` is
trained on the file, and the file is compressed and restored. The model is not in the archive.
"""

import argparse
import lzma
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

import vlb

TABLES = {
    "iris": lambda: load_iris(as_frame=True).frame,
    "wine": lambda: load_wine(as_frame=True).frame,
    "diabetes": lambda: load_diabetes(as_frame=True, scaled=False).frame,
    "breast cancer": lambda: load_breast_cancer(as_frame=True).frame,
}


def measured(name: str, table: pd.DataFrame, gaps: float, folder: Path) -> list[object]:
    """A row of the table of results."""
    table = table.round(4).mask(np.random.default_rng(0).random(table.shape) < gaps)
    file, run, archive = folder / f"{name}.csv", folder / f"run {name}", folder / f"{name}.vlb"
    table.to_csv(file, index=False)
    vlb.train("table", data=file, out=run)
    started = time.perf_counter()
    result = vlb.compress(run, [file], archive)
    seconds = time.perf_counter() - started
    vlb.decompress(archive, folder / f"back {name}", run=run)
    content = file.read_bytes()
    if (folder / f"back {name}" / file.name).read_bytes() != content:
        raise AssertionError(f"{name} did not come back")
    audit = vlb.inspect(archive, vlb.InspectOptions(account=True), run=run).audit
    there = 1 - table.isna().to_numpy().mean(0)
    pattern = sum(-math.log2(p) * p - math.log2(1 - p) * (1 - p) for p in there if 0 < p < 1)
    rows = len(table)
    net = sum(account.net for account in result.summary.accounts) / rows
    return [
        name, f"{rows} × {table.shape[1]}", len(content), len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
        archive.stat().st_size, f"{audit.bound / rows:.2f}", f"{pattern:.2f}", f"{net:.2f}", f"{seconds:.1f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gaps", type=float, default=0.1, help="the share of cells that are hidden")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    arguments = parser.parse_args()
    print("| table | rows × columns | CSV | xz -9e | vlb | −log2 p, bits a row | which are there | coded | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.tables:
        with tempfile.TemporaryDirectory() as folder:
            row = measured(name, TABLES[name](), arguments.gaps, Path(folder))
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()

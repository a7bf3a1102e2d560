"""A table of 20,000 rows and 16 columns: what training takes by the mixture and by diffusion, from the command line.

The table is drawn from a law that is known, so that log p of its rows is, too: five Gaussians of rank 4 and some noise
over twelve reals, and four columns of 2, 3, 6 and 20 categories, independent given which Gaussian; a tenth of the cells
is hidden at random. CPU seconds are those of the whole command `vlb train`, on one thread; bounds are of `vlb
evaluate`, of the run's own test rows.

It adds to benchmarks/results/table-size.json: python benchmarks/bench_table_size.py table table-diffusion
"""

import csv
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROWS, REALS, COUNTS, PARTS, RANK, GAPS = 20_000, 12, (2, 3, 6, 20), 5, 4, 0.1
OUT = Path(__file__).parent / "results" / "table-size.json"


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n, 16), NaN where a cell is hidden, categories as numbers; and log p of each, (n,) nats."""
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.full(PARTS, 3.0))
    means = 2 * random.normal(size=(PARTS, REALS))
    loadings = random.normal(size=(PARTS, REALS, RANK))
    covariances = loadings @ loadings.transpose(0, 2, 1) + 0.2 * np.eye(REALS)
    tables = [random.dirichlet(np.full(count, 0.7), PARTS) for count in COUNTS]
    part = random.choice(PARTS, ROWS, p=weights)
    reals = means[part] + np.einsum(
        "nij,nj->ni", np.linalg.cholesky(covariances)[part], random.normal(size=(ROWS, REALS))
    )
    picked = [(random.random((ROWS, 1)) > p[part].cumsum(1)).sum(1).clip(max=p.shape[1] - 1) for p in tables]
    x = np.column_stack((reals, *picked))
    x[random.random(x.shape) < GAPS] = np.nan
    return x, log_p(x, weights, means, covariances, tables)


def log_p(x: np.ndarray, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, tables: list) -> np.ndarray:
    """Of the cells that are there, (n,) nats."""
    joint = np.tile(np.log(weights), (len(x), 1))
    for number, p in enumerate(tables):
        own = x[:, REALS + number]
        there = ~np.isnan(own)
        joint[there] += np.log(p[:, own[there].astype(int)]).T
    there = ~np.isnan(x[:, :REALS])
    patterns, which = np.unique(there, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows = np.flatnonzero(which.ravel() == number)
        for part in range(PARTS if pattern.any() else 0):
            covariance = covariances[part][np.ix_(pattern, pattern)]
            error = np.linalg.solve(
                np.linalg.cholesky(covariance), (x[rows][:, :REALS][:, pattern] - means[part][pattern]).T
            )
            constant = np.linalg.slogdet(covariance)[1] + pattern.sum() * math.log(2 * math.pi)
            joint[rows, part] -= 0.5 * ((error**2).sum(0) + constant)
    most = joint.max(1, keepdims=True)
    return (most + np.log(np.exp(joint - most).sum(1, keepdims=True))).ravel()


def write(x: np.ndarray, path: Path) -> None:
    """Reals in full, categories as letters, hidden cells empty."""
    with path.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow([*(f"r{i}" for i in range(REALS)), *(f"c{i}" for i in range(len(COUNTS)))])
        for row in x:
            cells = ["" if math.isnan(value) else repr(float(value)) for value in row[:REALS]]
            out.writerow(cells + ["" if math.isnan(value) else chr(97 + int(value)) for value in row[REALS:]])


def spent(*words: object) -> float:
    """CPU seconds of a command of vlb on one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "vlb", *map(str, words)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(recipes: list[str]) -> None:
    x, exact = table()
    found = json.loads(OUT.read_text("utf-8")) if OUT.exists() else {"rows": {}}
    found |= {"shape": x.shape, "law": [-float(exact.mean()), float(exact.std() / math.sqrt(len(x)))]}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "table.csv"
        write(x, data)
        for recipe in recipes:
            run, out = Path(folder) / recipe, Path(folder) / f"{recipe}.json"
            seconds = spent("train", recipe, "--data", data, "--out", run)
            spent("evaluate", run, "--json", out)
            evaluated = json.loads(out.read_text("utf-8"))
            del evaluated["values"]  # a file of this folder, which goes
            found["rows"][recipe] = {"seconds": seconds} | evaluated
            OUT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            print(recipe, f"{seconds:.1f} CPU seconds")


if __name__ == "__main__":
    main(sys.argv[1:] or ["table", "table-diffusion"])

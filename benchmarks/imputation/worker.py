"""Runs in a rival's environment: python worker.py NAME ASKED.npz ANSWER.npz LIMIT, seconds of processor at most.

ASKED: x (n, D) with NaN where a cell is missing, counts (D,) of the values of a category, 0 for reals, seed, draws.
ANSWER: draws (M, n, D), seconds of processor.
"""

import resource
import sys
import time

import numpy as np
import pandas as pd


def framed(x, counts):
    frame = pd.DataFrame(x, columns=[f"c{place}" for place in range(x.shape[1])])
    for place, count in enumerate(counts):
        if count:
            column = frame[f"c{place}"]
            frame[f"c{place}"] = pd.Categorical(column.astype("Int64"), categories=range(int(count)))
    return frame


def miceforest(x, counts, seed, draws):
    import miceforest as mf

    kernel = mf.ImputationKernel(framed(x, counts), num_datasets=draws, random_state=seed)
    kernel.mice(5, num_threads=1)
    return np.stack([kernel.complete_data(one).astype(float).to_numpy() for one in range(draws)])


def hyperimpute(x, counts, seed, draws):
    from hyperimpute.plugins.imputers import Imputers

    found = Imputers().get("hyperimpute", random_state=seed).fit_transform(pd.DataFrame(x))
    found = found.to_numpy(float)
    return np.where(counts > 0, found.round().clip(0, np.maximum(counts - 1, 0)), found)[None]


def forestdiffusion(x, counts, seed, draws):
    from ForestDiffusion import ForestDiffusionModel

    model = ForestDiffusionModel(
        X=x, n_t=50, duplicate_K=50, diffusion_type="vp", n_jobs=1, seed=seed,
        cat_indexes=[place for place, count in enumerate(counts) if count],
    )  # fmt: skip
    return np.stack(model.impute(k=draws)) if draws > 1 else model.impute(k=1)[None]


if __name__ == "__main__":
    name, asked, answer, limit = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 10))
    with np.load(asked) as given:
        x, counts, seed, draws = given["x"], given["counts"], int(given["seed"]), int(given["draws"])
    start = time.process_time()
    found = {"miceforest": miceforest, "hyperimpute": hyperimpute, "forestdiffusion": forestdiffusion}[name](
        x, counts, seed, draws
    )
    np.savez(answer, draws=found, seconds=time.process_time() - start)

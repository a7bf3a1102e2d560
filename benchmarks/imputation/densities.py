"""log p of rows held out, and whether a classifier tells samples from them, by several densities of whole tables.

    python benchmarks/imputation/densities.py --out FILE.jsonl [--tables …] [--methods …] [--seeds 5]

What FILE has already is skipped. A third of the rows is for the test. Densities: vlb's default mixture; vlb's
diffusion, in so few steps that it takes about as long as the flow, of which log p is a bound; a mixture of Gaussians,
number and kind of covariance by BIC; a kernel density, bandwidth by five-fold cross-validation; a neural spline flow
(zuko; where it is not installed it is left out). For the two-sample test, gradient boosting is cross-validated on as
many samples as test rows (Lopez-Paz & Oquab 2017): `auc` 0.5 is what none can tell. Beside them, rows of training
("rows": what luck gives), and columns shuffled apart ("shuffled").
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from methods import framed, unframed
from results import append, read
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KernelDensity
from sources import SOURCES, Table, installed, load

from vlb.estimators import DiffusionDensity, MixtureDensity

TABLES = ("wine", "diabetes", "breast_cancer", "magic", "flights", "diamonds")
KEYS = ("table", "seed", "method")
PATIENCE, EPOCHS = 20, 400  # of the flow
STEPS, WIDTH, BLOCKS = 500, 128, 2  # of the diffusion


@dataclass(frozen=True, eq=False)
class Found:
    """log_p: mean over the test rows, nats per row, if there is one; samples: (m, D)."""

    log_p: float | None
    samples: np.ndarray


Density = Callable[[Table, np.ndarray, np.ndarray, int], Found]  # from training rows, test rows and a seed


def mixture(table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    return scored(MixtureDensity(random_state=seed), table, train, test, seed)


def diffusion(table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    density = DiffusionDensity(steps=STEPS, width=WIDTH, blocks=BLOCKS, random_state=seed)
    return scored(density, table, train, test, seed)


def scored(density: Any, table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    density.fit(framed(train, table.counts))
    log_p = density.score(framed(test, table.counts)) if table.has_density else None
    return Found(log_p, unframed(density.sample(len(test), random_state=seed)))


def gaussians(table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    several = [
        GaussianMixture(count, covariance_type=kind, reg_covar=1e-4, random_state=seed).fit(train)
        for kind in ("full", "tied", "diag")
        for count in (1, 2, 3, 4, 6, 8, 12)
    ]
    best = min(several, key=lambda one: one.bic(train))
    return Found(best.score(test), best.sample(len(test))[0])


def kernels(table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    search = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.05, 2, 20)}, cv=5).fit(train)
    best = search.best_estimator_
    return Found(float(best.score_samples(test).mean()), best.sample(len(test), random_state=seed))


def flow(table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    import torch
    import zuko

    torch.manual_seed(seed)
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(train)).float()
    held, rows = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    model = zuko.flows.NSF(train.shape[1], transforms=3, hidden_features=(64, 64))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    best, kept, since = np.inf, model.state_dict(), 0
    for _ in range(EPOCHS):
        for batch in rows[torch.randperm(len(rows))].split(64):
            optimiser.zero_grad()
            (-model().log_prob(batch).mean()).backward()
            optimiser.step()
        with torch.no_grad():
            now = float(-model().log_prob(held).mean())
        since += 1
        if now < best:
            best, since, kept = now, 0, {name: value.clone() for name, value in model.state_dict().items()}
        if since > PATIENCE:
            break
    model.load_state_dict(kept)
    with torch.no_grad():
        log_p = float(model().log_prob(torch.from_numpy(test).float()).mean())
        return Found(log_p, model().sample((len(test),)).double().numpy())


def rows(table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    return Found(None, np.random.default_rng(seed).permutation(train)[: len(test)])


def shuffled(table: Table, train: np.ndarray, test: np.ndarray, seed: int) -> Found:
    return Found(None, np.random.default_rng(seed).permuted(train, axis=0)[: len(test)])


@dataclass(frozen=True)
class Method:
    """package: what has to be installed for it; categories: whether it takes any."""

    run: Density
    package: str = "sklearn"
    categories: bool = False


METHODS = {
    "vlb": Method(mixture, categories=True),
    "vlb, diffusion": Method(diffusion, categories=True),
    "Gaussian mixture": Method(gaussians),
    "kernels": Method(kernels),
    "spline flow": Method(flow, package="zuko"),
    "rows": Method(rows, categories=True),
    "shuffled": Method(shuffled, categories=True),
}


def told_apart(table: Table, samples: np.ndarray, test: np.ndarray, seed: int) -> float:
    """The area under the ROC curve of a classifier of samples and test rows, cross-validated."""
    both = np.concatenate((samples, test))
    which = np.repeat((0, 1), (len(samples), len(test)))
    boosting = HistGradientBoostingClassifier(
        max_iter=60, min_samples_leaf=10, categorical_features=table.counts > 0, random_state=seed
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return float(roc_auc_score(which, cross_val_predict(boosting, both, which, cv=folds, method="predict_proba")[:, 1]))


def measured(table: Table, method: str, seed: int) -> dict[str, Any]:
    """The scores of one density of one table, split by a seed."""
    order = np.random.default_rng(seed).permutation(len(table.x))
    train, test = table.x[order[len(order) // 3 :]], table.x[order[: len(order) // 3]]
    start = time.process_time()
    found = METHODS[method].run(table, train, test, seed)
    line: dict[str, Any] = {"seconds": round(time.process_time() - start, 2)}
    if found.log_p is not None:
        line["nats"] = round(found.log_p / table.x.shape[1], 5)
    return line | {"auc": round(told_apart(table, found.samples, test, seed), 5)}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--tables", nargs="+", default=TABLES, choices=list(SOURCES))
    words.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    words.add_argument("--seeds", type=int, default=5)
    given = words.parse_args()
    done = {tuple(line[name] for name in KEYS) for line in read(given.out)}
    standard = [load(name) for name in installed(list(given.tables))]
    # Where there is no density to compare, columns stay in their units, in which they may be rounded.
    tables = [table if table.has_density else load(table.name, standard=False) for table in standard]
    for seed in range(given.seeds):
        for table in tables:
            for name in given.methods:
                method = METHODS[name]
                key = (table.name, seed, name)
                if key in done or not (method.categories or table.reals.all()):
                    continue
                if importlib.util.find_spec(method.package) is None:
                    print(f"left out: {name}, for the package {method.package} is not installed", flush=True)
                    continue
                line = dict(zip(KEYS, key, strict=True)) | measured(table, name, seed)
                append(given.out, line)
                print(line, flush=True)


if __name__ == "__main__":
    main()

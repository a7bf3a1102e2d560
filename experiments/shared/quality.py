"""How good samples are, as a small classifier sees them: Fréchet distance, precision and recall, accuracy.

The classifier is trained by the experiment on the labelled training examples. What it computes before its last layer,
64 numbers, are the features; they are no Inception's, and distances are comparable within a table alone.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlb.core.draws import Draws
from vlb.data import Dataset

NEIGHBOURS = 3
FEATURES = 64


class Classifier(nn.Module):
    """Two convolutions, and two linear layers on 4×4 pixels."""

    def __init__(self, levels: int, classes: int) -> None:
        super().__init__()
        self.levels = levels
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """x (n, 1, H, W), in levels -> (n, 64)."""
        found: Tensor = self.body(2 * x.float() / (self.levels - 1) - 1)
        return found

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(x))
        return scores

    @torch.no_grad()
    def judged(self, x: Tensor | np.ndarray) -> np.ndarray:
        """`features` of many, (n, 64) float64."""
        parts = torch.as_tensor(np.asarray(x)).split(1000)
        return torch.cat([self.features(part) for part in parts]).double().numpy()

    @torch.no_grad()
    def accuracy(self, x: Tensor, labels: np.ndarray) -> float:
        """The share of x (n, 1, H, W) that it takes for what they are."""
        return float((self(x).argmax(1).numpy() == labels).mean())


def classifier(data: Dataset, epochs: int = 15) -> Classifier:
    """Trained on the training examples, the same for every experiment."""
    split, generator = data.train, torch.Generator().manual_seed(0)
    assert split.labels is not None
    with Draws(generator):
        model = Classifier(int(data.train.x.max()) + 1, int(split.labels.max()) + 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    x, labels = torch.from_numpy(np.ascontiguousarray(split.x)), torch.from_numpy(split.labels)
    for _ in range(epochs):
        for index in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[index]), labels[index]).backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


class Quality(NamedTuple):
    """Fréchet distance of features; precision: the share of samples within the data's manifold, recall: of data within
    the samples' (Kynkäänniemi et al. 2019, 3 neighbours)."""

    frechet: float
    precision: float
    recall: float


def quality(drawn: np.ndarray, known: np.ndarray, near: np.ndarray) -> Quality:
    """Of samples against examples, by what a classifier made of each (`judged`): the distance of samples (n, 64) from
    `known` (m, 64), precision and recall beside `near` (k, 64), as many of these as there are samples where there
    are so many."""
    return Quality(frechet(drawn, known), covered(drawn, near), covered(near, drawn))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½) of features (n, d)."""
    first, second = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.linalg.eigvals(first @ second).real.clip(min=0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * root)


def covered(points: np.ndarray, manifold: np.ndarray) -> float:
    """The share of points within the distance of some point of `manifold` to its third neighbour there."""
    own, across = (torch.cdist(torch.from_numpy(other), torch.from_numpy(manifold)) for other in (manifold, points))
    radius = own.kthvalue(NEIGHBOURS + 1, 1).values
    return float((across <= radius).any(1).double().mean())

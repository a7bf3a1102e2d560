"""Everything that a report says, as values, before a page is made of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vlb.data import Split
from vlb.evaluation import NoiseProfile, classify
from vlb.experiment import Experiment
from vlb.models.diffusion import DiffusionModel
from vlb.report.gallery import Gallery
from vlb.report.history import History
from vlb.report.summary import subset


@dataclass(frozen=True)
class Accuracy:
    """How often the most probable class under p(y | x) by Bayes' rule was right."""

    right: int
    examples: int
    classes: int
    draws: int

    @property
    def share(self) -> float:
        """The share of right answers."""
        return self.right / self.examples

    @property
    def standard_error(self) -> float:
        """The standard error of the share over other examples (binomial)."""
        return math.sqrt(self.share * (1 - self.share) / self.examples)


@dataclass(frozen=True)
class Content:
    """What a page is made of.

    summary: as by `vlb.report.summary.summarise`; shape: of an example; parameters: how many numbers were
    learned; gallery: None for examples that are not images; accuracy: None for unconditional models;
    changed: paths of configuration fields, such as "training.steps", that differ from the recipe, None
    where there is no such recipe; versions: of software by name, at the time of the report; commands:
    command lines that repeat the run and its evaluation.
    """

    name: str
    summary: Mapping[str, Any]
    shape: tuple[int, ...]
    parameters: int
    history: History
    profile: NoiseProfile
    gallery: Gallery | None
    accuracy: Accuracy | None
    experiment: Experiment
    changed: frozenset[str] | None
    versions: Mapping[str, str]
    commands: tuple[str, ...]


def accuracy(
    model: DiffusionModel, split: Split, classes: int, *, draws: int = 8, device: torch.device | str = "cpu"
) -> Accuracy:
    """The accuracy on up to 300 labelled examples, fewer where there are more than ten classes."""
    assert split.labels is not None
    examples = subset(split, max(30, min(300, 3000 // classes)), seed=1)
    assert examples.labels is not None
    guesses = classify(model, examples, classes, draws=draws, device=device).argmax(1)
    return Accuracy(int(np.sum(guesses == examples.labels)), len(examples), classes, draws)

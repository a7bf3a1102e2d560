"""What the pages of all models say, as values, before HTML is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Protocol

import torch
from torch import nn

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.data import Dataset
from vlb.measure.recognition import Recognition
from vlb.measure.summary import EvaluationResult
from vlb.pages.clouds import Clouds
from vlb.pages.gallery import Gallery
from vlb.pages.history import History
from vlb.pages.sounds import Sounds
from vlb.store.experiment import Experiment
from vlb.store.runs import Run


@dataclass(frozen=True)
class About:
    """What is known of a run without asking its model anything.

    shape: of an example; parameters: how many numbers were learned; data: name and fingerprint; made_of: what the
    data are made of, as headings and words; changed: paths of
    configuration fields, such as "training.steps", that differ from the recipe, None where there is no such recipe;
    versions: of software by name, at the time of the report; commands: command lines that repeat the run and its
    evaluation.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    data: Mapping[str, str]
    made_of: tuple[tuple[str, str], ...]
    history: History
    experiment: Experiment
    changed: frozenset[str] | None
    versions: Mapping[str, str]
    commands: tuple[str, ...]


class Content(Protocol):
    """Everything that a page about a model of one kind shows."""

    @property
    def found(self) -> EvaluationResult | Recognition:
        """Its main result."""

    def page(self) -> str:
        """The whole page, HTML."""


@singledispatch
def content_of(
    model: nn.Module, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> Content:
    """Measure and draw everything that a page about a run's model shows; a module per kind of model registers here."""
    raise UserError(f"there is no page about a {type(model).__name__}")


@dataclass(frozen=True)
class Measured:
    """A model with a likelihood. result: as by `vlb.evaluate`; gallery: None for what is no image; sounds: for what
    is no sound; clouds: for what are no points."""

    about: About
    result: EvaluationResult
    gallery: Gallery | None
    sounds: Sounds | None = None
    clouds: Clouds | None = None

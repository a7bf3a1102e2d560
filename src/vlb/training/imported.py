"""`vlb.import_diffusers`: a U-Net that was trained with the package diffusers, as a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlb.base.configuration import encode
from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.core.initial import initialise
from vlb.core.surroundings import ordinary
from vlb.data import Dataset, load
from vlb.data.hub import absolute
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.numbered import KNOTS, Numbered
from vlb.nn.unet2d import require_diffusers
from vlb.store.experiment import DataSource, Experiment, Training
from vlb.store.runs import Run
from vlb.store.trained import Trained
from vlb.training.diffusers import Public, places_of, read
from vlb.training.loop import fit

VALIDATED = 128  # pictures; all of the test split are `vlb evaluate`'s
BACKBONE, DEVIATIONS = "denoiser.backbone.network.", "denoiser.log_deviations"


@dataclass(frozen=True)
class ImportResult(Result):
    """What `vlb.import_diffusers` returns. notes: what is done otherwise than in diffusers."""

    run: Run
    steps: int
    notes: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"run": str(self.run.path), "steps": self.steps, "notes": list(self.notes)}

    def table(self) -> Table:
        """Where the run is."""
        return Table(
            "imported", ("", ""), ((("run", str(self.run.path)), ("steps", str(self.steps))),), "", self.notes, False
        )


@ordinary()
def import_diffusers(
    source: str | Path,
    *,
    data: Path,
    out: Path,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> ImportResult:
    """Make a run of a pixel-space `UNet2DModel` and its scheduler, as diffusers saves them, and of pictures.

    source: a pipeline's folder, or the folder of a model with its scheduler_config.json, or `hf:owner/name`; data:
    pictures of the model's size, of whose splits training and validation measure how far off the network's x̂ is, and
    test what the bound is; out: a folder that does not exist yet. Raises `UserError` where the package diffusers is not
    installed, where the model is none that vlb can run – it says what of it – and where the pictures do not fit it.
    """
    require_diffusers()
    Run.refuse_existing(out)
    progress.begin("reading the model")
    found = read(places_of(source))
    progress.begin("reading the data")
    pictures = load("images", data)
    refuse_other(found, pictures)
    experiment = experiment_of(found, pictures, data, str(source))
    trained = Trained(
        encode(experiment)["model"],
        encode(pictures.schema),
        {**{BACKBONE + name: value for name, value in found.weights.items()}, DEVIATIONS: torch.zeros(KNOTS)},
        found.folder,
    )
    model = trained.build().requires_grad_(True).to(device)
    progress.begin("measuring how far off its predictions are")
    initialise(model, pictures.train, torch.Generator(device).manual_seed(0))
    run = Run.create(out, experiment, pictures)
    progress.begin("measuring a bound on validation data")
    fit(experiment, pictures, run, model=model, device=device, progress=progress)
    return ImportResult(run, found.steps.count, found.notes)


def refuse_other(found: Public, pictures: Dataset) -> None:
    """Raises `UserError` for pictures of another shape than the model's, or without the classes that it is told."""
    channels, *size = pictures.shape
    if channels != found.channels:
        raise UserError(f"the model is of pictures with {found.channels} channels, {pictures.name} has {channels}")
    if found.size is not None and tuple(size) != found.size:
        height, width = found.size
        raise UserError(
            f"the model is of {height}×{width} pixels, {pictures.name} has {'×'.join(map(str, size))}: give pictures "
            "of the model's size"
        )
    told, classes = found.network.num_class_embeds, pictures.schema.classes
    if told is not None and told != classes:
        raise UserError(
            f"the model is told which of {told} classes a picture is of, and {pictures.name} has "
            f"{'no classes' if classes is None else classes}: give a folder of a folder for each class, whose names in "
            "order are the model's numbers from 0"
        )


def experiment_of(found: Public, pictures: Dataset, data: Path, source: str) -> Experiment:
    """What the run says: no step of training, and the schedule that the network was trained with."""
    head = Numbered(output=found.output, steps=found.steps)
    schedule = found.steps.among(pictures.levels)
    return Experiment(
        recipe="images",
        data=DataSource(name="images", path=absolute(data)),
        model=Diffusion(
            schedule=schedule,
            backbone=found.network,
            head=head,
            condition="none" if found.network.num_class_embeds is None else "labels",
        ),
        training=Training(steps=0, validation_examples=VALIDATED),
        unconditional_share=0.0,  # it has no number for no label
        imported=source,
    )

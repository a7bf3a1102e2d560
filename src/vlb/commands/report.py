"""`vlb report`."""

import platform
import shlex
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from vlb.commands.evaluate import measure
from vlb.commands.process import choose_device, console, keep_freed_memory, progress_bar
from vlb.commands.reproduce import changes, train_command
from vlb.data import Dataset
from vlb.evaluation import noise_profile
from vlb.files import write_text
from vlb.models.diffusion import DiffusionModel
from vlb.report.content import Content, accuracy
from vlb.report.gallery import Gallery, drawable, gallery
from vlb.report.history import history
from vlb.report.page import page
from vlb.report.summary import subset, summarise
from vlb.runs import Run, diffusion_model

EXAMPLES, PASSES, STEPS = 2000, 4, 100


def run_report(path: Path, data_path: Path | None, device: str | None) -> None:
    """Write `path`/report.html, in place of an older one. Raises `UserError` if `path` is not a trained run."""
    keep_freed_memory()
    run = Run.open(path)
    data = run.data(data_path)
    chosen = choose_device(device)
    content = gather(run, data, chosen)
    write_text(path / "report.html", page(content))
    console.print(f"{content.summary['bits_per_dim']:.4f} bits/dim; report: {path / 'report.html'}", markup=False)


def gather(run: Run, data: Dataset, device: torch.device) -> Content:
    """Measure and draw everything that the page shows, on at most `EXAMPLES` test examples."""
    model = diffusion_model(run.model(data, device), "`vlb report`")
    classes = run.experiment.classes(data)
    examples = subset(data.test, EXAMPLES)
    evaluation = measure(model, examples, bool(classes), PASSES, 0, device)
    summary = summarise(evaluation, data, "test", examples)
    console.print("measuring noise levels" + (" and classification" if classes else ""))
    profile = noise_profile(model, examples, conditional=bool(classes), bins=32, limit=EXAMPLES, device=device)
    changed = changes(run.experiment)
    return Content(
        name=run.path.resolve().name,
        summary=summary,
        shape=model.shape,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        history=history(run),
        profile=profile,
        gallery=_gallery(model, data, classes),
        accuracy=accuracy(model, data.test, classes, device=device) if classes else None,
        experiment=run.experiment,
        changed=None if changed is None else frozenset(changed),
        versions={
            "vlb": version("vlb"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "Python": platform.python_version(),
        },
        commands=(
            train_command(run.experiment, run.path),
            f"vlb evaluate {shlex.quote(str(run.path))} --passes {PASSES}",
            f"vlb report {shlex.quote(str(run.path))}",
        ),
    )


def _gallery(model: DiffusionModel, data: Dataset, classes: int) -> Gallery | None:
    """Samples and data with a progress bar, None for examples that cannot be drawn."""
    if not drawable(model.shape):
        return None
    with progress_bar() as bar:
        task = bar.add_task("sampling", total=STEPS + 1, detail="")
        return gallery(model, data, classes, steps=STEPS, report=lambda done: bar.update(task, completed=done))

"""`vlb report`."""

import platform
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vlb.base.files import write_text
from vlb.data import Dataset, Split
from vlb.interfaces.commands.measure import CONTINUOUS_PASSES, PASSES, Effort, measure, planned
from vlb.interfaces.commands.process import choose_device, console, keep_freed_memory, progress_bar
from vlb.interfaces.commands.reproduce import changes, train_command
from vlb.measure.diagnostics import level_use
from vlb.measure.evaluation import Evaluation, noise_profile
from vlb.measure.recognition import recognise
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.stratified import StratifiedBound
from vlb.models.ladder.model import LadderNetwork
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.models.protocols import LikelihoodModel
from vlb.models.vae.model import VariationalHierarchy
from vlb.pages.content import About, Measured
from vlb.pages.diffusion import DiffusionContent, accuracy, diffusion_page
from vlb.pages.film import filmed
from vlb.pages.gallery import ancestral, drawable
from vlb.pages.hierarchy import SHOWN, HierarchyContent, decided, hierarchy_page, named
from vlb.pages.history import History, history
from vlb.pages.ladder import LadderContent, ladder_page
from vlb.pages.mixture import MixtureContent, components, mixture_page
from vlb.pages.summary import summarise
from vlb.store.runs import Run

EXAMPLES, STEPS = 1000, 100
USED = 200  # examples by which the use of levels is measured: every pair of them is compared


Content = DiffusionContent | HierarchyContent | MixtureContent | LadderContent


def run_report(path: Path, data_path: Path | None, device: str | None) -> None:
    """Write `path`/report.html, in place of an older one. Raises `UserError` if `path` is not a trained run."""
    keep_freed_memory()
    run = Run.open(path)
    content = gather(run, run.data(data_path), choose_device(device))
    write_text(path / "report.html", page_of(content))
    console.print(f"{number(content)}; report: {path / 'report.html'}", markup=False)


def gather(run: Run, data: Dataset, device: torch.device) -> Content:
    """Measure and draw everything that a page about the run's model shows, on at most `EXAMPLES` test examples."""
    model = run.model(data, device)
    if isinstance(model, LadderNetwork):
        return _ladder(run, model, data, device)
    examples = data.test.subset(EXAMPLES)
    evaluation = evaluated(model, data, examples, bool(run.experiment.classes(data)), device)
    summary = summarise(evaluation, data, "test", examples)
    about = _about(run, model, data, history(run))
    if isinstance(model, DiffusionModel):
        return _diffusion(run, model, data, examples, about, summary, device)
    measured = Measured(about, summary, ancestral(model, data))
    if isinstance(model, VariationalHierarchy):
        return _hierarchy(model, data, examples, measured, device)
    if isinstance(model, CategoricalMixture):
        return MixtureContent(measured, *components(model))
    raise TypeError(f"there is no page about a {type(model).__name__}")


def evaluated(
    model: LikelihoodModel, data: Dataset, examples: Split, conditional: bool, device: torch.device
) -> Evaluation:
    """What `vlb evaluate` finds of these test examples."""
    if isinstance(model, DiffusionModel):
        bound = StratifiedBound(model, planned(model, data, "test", conditional, device))
        return measure(bound, examples, conditional, Effort(), device, usual=CONTINUOUS_PASSES)
    return measure(model, examples, conditional, Effort(), device, usual=PASSES)


def page_of(content: Content) -> str:
    """The page that fits the content."""
    match content:
        case DiffusionContent():
            return diffusion_page(content)
        case HierarchyContent():
            return hierarchy_page(content)
        case MixtureContent():
            return mixture_page(content)
        case LadderContent():
            return ladder_page(content)


def number(content: Content) -> str:
    """The page's main number with its unit."""
    if isinstance(content, LadderContent):
        return f"{content.recognition.error_rate:.2%} errors"
    return f"{content.measured.summary['bits_per_dim']:.4f} bits/dim"


def _diffusion(
    run: Run,
    model: DiffusionModel,
    data: Dataset,
    examples: Split,
    about: About,
    summary: dict[str, Any],
    device: torch.device,
) -> DiffusionContent:
    classes = run.experiment.classes(data)
    console.print("measuring noise levels" + (" and classification" if classes else ""))
    profile = noise_profile(model, examples, conditional=bool(classes), bins=32, limit=EXAMPLES, device=device)
    gallery, film = None, None
    if drawable(model.shape):
        with progress_bar() as bar:
            task = bar.add_task("sampling", total=STEPS + 1, detail="")
            gallery, film = filmed(
                model, data, classes, steps=STEPS, report=lambda done: bar.update(task, completed=done)
            )
    right = accuracy(model, data.test, classes, device=device) if classes else None
    return DiffusionContent(Measured(about, summary, gallery), profile, film, right)


def _hierarchy(
    model: VariationalHierarchy, data: Dataset, examples: Split, measured: Measured, device: torch.device
) -> HierarchyContent:
    console.print("measuring what levels are used for")
    few = examples.subset(USED)
    x = torch.from_numpy(np.ascontiguousarray(few.x)).to(device)
    uses = tuple(level_use(model, x, torch.Generator().manual_seed(0)))
    pictures = decided(model, data.test.x[:SHOWN], data.levels) if drawable(model.shape) else None
    return HierarchyContent(measured, named(model), uses, len(few), pictures)


def _ladder(run: Run, model: LadderNetwork, data: Dataset, device: torch.device) -> LadderContent:
    labelled = Split(model.get_buffer("labelled_x").cpu().numpy(), model.get_buffer("labels").cpu().numpy())
    about = _about(run, model, data, history(run, "loss", "error_rate"))
    return LadderContent(about, recognise(model, data.test, device=device), labelled, data.levels, model.cost_weights)


def _about(run: Run, model: object, data: Dataset, course: History) -> About:
    assert isinstance(model, nn.Module)
    changed, path = changes(run.experiment), shlex.quote(str(run.path))
    whole = isinstance(model, LadderNetwork) or len(data.test) <= EXAMPLES
    return About(
        name=run.path.resolve().name,
        shape=data.shape,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        data={"name": data.name, "fingerprint": data.fingerprint},
        history=course,
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
            f"vlb evaluate {path}" + ("" if whole else f" --examples {EXAMPLES}"),
            f"vlb report {path}",
        ),
    )

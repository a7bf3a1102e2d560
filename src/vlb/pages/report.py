"""`vlb.report`: one self-contained page about a run."""

import platform
import shlex
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vlb.base.files import write_text
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.data import Dataset, Split
from vlb.measure.diagnostics import level_use
from vlb.measure.evaluate import CONTINUOUS_PASSES, PASSES
from vlb.measure.evaluation import Bounded, Evaluation, measure_bound
from vlb.measure.planning import planned
from vlb.measure.profile import noise_profile
from vlb.measure.recognition import Recognition, recognise
from vlb.measure.summary import EvaluationResult, summarise
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
from vlb.pages.reproduce import changes, train_command
from vlb.store.runs import Run

EXAMPLES, STEPS = 1000, 100
USED = 200  # examples by which the use of rungs is measured: every pair of them is compared


Content = DiffusionContent | HierarchyContent | MixtureContent | LadderContent


@dataclass(frozen=True)
class ReportResult(Result):
    """What `vlb.report` returns: where the page is, and what is on it."""

    path: Path
    content: Content

    @property
    def words(self) -> str:
        """The page's main number, and where it is."""
        return f"{number(self.content)}; report: {self.path}"

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"report": str(self.path), **_found(self.content).values()}

    def table(self) -> Table:
        """The page's main result."""
        return _found(self.content).table()

    def show(self, console: Any) -> None:
        """In a sentence."""
        console.print(self.words, markup=False)


def report(
    run: Run | str | Path,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> ReportResult:
    """Write RUN/report.html, in place of an older one: the page of `vlb report`.

    data: where a run's own data are now, if they have moved. Raises `UserError` if `run` is not a trained run.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    own = opened.reference(opened.model(device), data)
    if own.why:
        progress.say(own.why)
        own = own.with_test(f"{own.name}: samples of the model, for the data are gone", own.test)
    content = gather(opened, own, device, progress)
    path = opened.path / "report.html"
    write_text(path, page_of(content))
    return ReportResult(path, content)


def gather(run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT) -> Content:
    """Measure and draw everything that a page about the run's model shows, on at most `EXAMPLES` test examples."""
    model = run.model(device)
    if isinstance(model, LadderNetwork):
        return _ladder(run, model, data, device)
    examples = data.test.subset(EXAMPLES)
    evaluation = evaluated(model, data, examples, run.conditional, device, progress)
    result = summarise(evaluation, data, "test", examples)
    about = _about(run, model, data, history(run))
    if isinstance(model, DiffusionModel):
        return _diffusion(run, model, data, examples, about, result, device, progress)
    measured = Measured(about, result, ancestral(model, data))
    if isinstance(model, VariationalHierarchy):
        return _hierarchy(model, data, examples, measured, device, progress)
    if isinstance(model, CategoricalMixture):
        return MixtureContent(measured, *components(model))
    raise TypeError(f"there is no page about a {type(model).__name__}")


def evaluated(
    model: LikelihoodModel,
    data: Dataset,
    examples: Split,
    conditional: bool,
    device: torch.device | str,
    progress: Progress = SILENT,
) -> Evaluation:
    """What `vlb evaluate` finds of these test examples."""
    bound: Bounded = model
    passes = PASSES
    if isinstance(model, DiffusionModel):
        bound = StratifiedBound(model, planned(model, data, "test", conditional, progress))
        passes = CONTINUOUS_PASSES
    return measure_bound(bound, examples, conditional=conditional, passes=passes, device=device, progress=progress)


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
    found = _found(content)
    return f"{found.error_rate:.2%} errors" if isinstance(found, Recognition) else f"{found.bits_per_dim:.4f} bits/dim"


def _found(content: Content) -> EvaluationResult | Recognition:
    return content.recognition if isinstance(content, LadderContent) else content.measured.result


def _diffusion(
    run: Run,
    model: DiffusionModel,
    data: Dataset,
    examples: Split,
    about: About,
    result: EvaluationResult,
    device: torch.device | str,
    progress: Progress,
) -> DiffusionContent:
    classes = (run.schema.classes or 0) if run.conditional else 0
    progress.begin("measuring noise levels" + (" and classification" if classes else ""))
    profile = noise_profile(model, examples, conditional=bool(classes), bins=32, limit=EXAMPLES, device=device)
    gallery, film = None, None
    if drawable(model.shape):
        gallery, film = filmed(model, data, classes, steps=STEPS, progress=progress)
    right = accuracy(model, data.test, classes, device=device) if classes else None
    return DiffusionContent(Measured(about, result, gallery), profile, film, right)


def _hierarchy(
    model: VariationalHierarchy,
    data: Dataset,
    examples: Split,
    measured: Measured,
    device: torch.device | str,
    progress: Progress,
) -> HierarchyContent:
    progress.begin("measuring what rungs are used for")
    few = examples.subset(USED)
    x = torch.from_numpy(np.ascontiguousarray(few.x)).to(device)
    uses = tuple(level_use(model, x, torch.Generator().manual_seed(0)))
    pictures = decided(model, data.test.x[:SHOWN], data.levels) if drawable(model.shape) else None
    return HierarchyContent(measured, named(model), uses, len(few), pictures)


def _ladder(run: Run, model: LadderNetwork, data: Dataset, device: torch.device | str) -> LadderContent:
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

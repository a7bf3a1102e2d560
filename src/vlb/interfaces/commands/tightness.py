"""`vlb tightness`."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vlb.base.errors import UserError
from vlb.base.files import write_text
from vlb.interfaces.commands.evaluate import discretise
from vlb.interfaces.commands.measure import Effort, measure, planned
from vlb.interfaces.commands.process import choose_device, keep_freed_memory, progress_bar, refuse_existing
from vlb.measure.evaluation import Bounded, Evaluation
from vlb.measure.tightness.trained import WeighedExamples, weigh
from vlb.models.diffusion.flow.bound import FlowBound
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.divergence import ExactDivergence, Hutchinson
from vlb.models.diffusion.kernels import KERNELS
from vlb.models.diffusion.model import WALK, DiffusionModel, GridDiffusion
from vlb.models.diffusion.stratified import StratifiedBound
from vlb.models.ladder.model import LadderNetwork
from vlb.models.vae.model import VariationalHierarchy
from vlb.store.runs import Run

PASSES, SMALL = 4, 32
EFFECTIVE = 2.0  # with fewer effective draws than this, what was found says little of what is left

LOOSENESS = (
    "looseness found is a lower bound: in expectation at most E KL(q(z|x) ‖ p(z|x)), towards which it grows with "
    "--draws. It says nothing of the misfit, KL(q(x) ‖ p(x)), which needs the entropy of the data"
)
LEVELS = (
    "a level's cost is not its error: most of it is what noise took from x and any model must pay. Which part is "
    "excess cannot be told without the true q(z_s | z_t)"
)
ANOTHER = "the ODE's likelihood is that of another model with the same network: it neither bounds nor estimates p(x)"


@dataclass(frozen=True)
class Request:
    """The options of `vlb tightness`."""

    steps: int = 32
    kernel: str = "standard"
    draws: int = 16
    examples: int = 100
    ode: bool = False

    def check(self) -> None:
        """Raises `UserError` for options out of range."""
        if not 1 <= self.steps <= WALK:
            raise UserError(f"--steps is from 1 to {WALK}, for all levels are walked, not {self.steps}")
        KERNELS.kind(self.kernel, "--kernel")
        if self.draws < 2:
            raise UserError(f"--draws must be at least 2: looseness shows in their spread, not {self.draws}")
        if self.examples < 2:
            raise UserError(f"--examples must be at least 2, not {self.examples}")


def run_tightness(
    path: Path, split: str, request: Request, seed: int, data_path: Path | None, out: Path | None, device: str | None
) -> None:
    """Measure how loose a run's bound is at least, print a table, write JSON where asked."""
    keep_freed_memory()
    request.check()
    if out is not None:
        refuse_existing(out)
    run = Run.open(path)
    data = run.data(data_path)
    part = data.split(split).subset(request.examples)
    chosen = choose_device(device)
    model = run.model(data, chosen)
    if isinstance(model, LadderNetwork):
        raise UserError(model.without_likelihood)
    if len(part) < 2:
        raise UserError(
            f"the {split} split of {data.name} has {len(part)} example: looseness has no error of a single one"
        )
    conditional = run.experiment.condition == "labels"
    if not isinstance(model, DiffusionModel | VariationalHierarchy):
        raise UserError(
            f"{path} holds a {type(model).__name__}, whose log p(x) is exact: there is no bound to be loose"
        )
    if request.ode and not isinstance(model, DiffusionModel):
        raise UserError(f"--ode is of diffusion models, and {path} holds a {type(model).__name__}: leave it out")

    def measured(bounded: Bounded, passes: int = PASSES) -> Evaluation:
        return measure(bounded, part, conditional, Effort(passes, seed=seed), chosen)

    continuous, flow = None, None
    hierarchy: GridDiffusion | VariationalHierarchy
    if isinstance(model, DiffusionModel):
        continuous = measured(StratifiedBound(model, planned(model, data, split, conditional, chosen)))
        hierarchy = discretise(model, data.validation, request.steps, request.kernel, "snr", conditional)
    else:
        hierarchy = model
    levels = measured(hierarchy)
    with progress_bar() as bar:
        task = bar.add_task(f"weighing {request.draws} draws", total=request.draws * len(part), detail="")
        weighed = weigh(
            hierarchy,
            part,
            draws=request.draws,
            conditional=conditional,
            seed=seed,
            device=chosen,
            report=lambda done: bar.update(task, completed=done),
        )
    if request.ode and isinstance(model, DiffusionModel):
        divergence = ExactDivergence() if math.prod(model.shape) <= SMALL else Hutchinson()
        flow = measured(FlowBound(Flow(model, divergence=divergence)), 2)
    summary = summarise(continuous, levels, weighed, flow)
    summary |= {"split": split, "split_examples": len(data.split(split)), "levels": data.levels}
    summary["data"] = {"name": data.name, "fingerprint": data.fingerprint}
    view = Console()
    view.print(table(summary))
    for line in notes(summary):
        view.print(f"– {line}.", markup=False, highlight=False)
    if out is not None:
        write_text(out, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def summarise(
    continuous: Evaluation | None, levels: Evaluation, weighed: WeighedExamples, flow: Evaluation | None
) -> dict[str, Any]:
    """Everything found, as JSON values; likelihoods in bits/dim, looseness in nats per example as well."""

    def stated(evaluation: Evaluation) -> dict[str, Any]:
        return {
            "bits_per_dim": evaluation.bits_per_dim,
            "standard_error": evaluation.standard_error,
            "se_monte_carlo": evaluation.se_monte_carlo,
            "bound": evaluation.bound.replace("p(x)", "p(x | y)") if evaluation.conditional else evaluation.bound,
        }

    importance, error = (levels.bits(value) for value in weighed.mean(weighed.importance))
    looseness = weighed.mean(weighed.looseness)
    return {
        "examples": len(levels.values),
        "dimensions": levels.dimensions,
        "conditional": levels.conditional,
        "continuous": None if continuous is None else stated(continuous),
        "discrete": stated(levels) | {"terms": levels.terms},
        "importance": {
            "bits_per_dim": importance,
            "standard_error": error,
            "draws": weighed.draws,
            "median_effective_draws": float(sorted(weighed.effective)[len(weighed.effective) // 2]),
        },
        "looseness_found": {
            "nats": looseness[0],
            "standard_error_nats": looseness[1],
            "bits_per_dim": levels.bits(looseness[0]),
        },
        "ode": None if flow is None else stated(flow),
    }


def table(summary: dict[str, Any]) -> Table:
    """What was found, in bits/dim, levels from the data up."""
    view = Table(
        title=f"{summary['data']['name']}, {summary['split']}: {summary['examples']} of {summary['split_examples']} "
        f"examples × {summary['dimensions']} dimensions, discrete, {summary['levels']} levels"
    )
    view.add_column("−log₂ p(x), at most")
    view.add_column("bits/dim", justify="right")

    def row(name: str, of: dict[str, Any]) -> None:
        view.add_row(name, f"{of['bits_per_dim']:.4f} ± {of['standard_error']:.4f}")

    if summary["continuous"]:
        row(summary["continuous"]["bound"], summary["continuous"])
    row(summary["discrete"]["bound"], summary["discrete"])
    for name, value in summary["discrete"]["terms"].items():
        view.add_row(f"  {name}", f"{value:.4f}")
    found = summary["importance"]
    row(f"importance-weighted, K = {found['draws']} ({found['median_effective_draws']:.1f} effective)", found)
    view.add_section()
    loose = summary["looseness_found"]
    view.add_row(
        f"looseness found: {loose['nats']:.2f} ± {loose['standard_error_nats']:.2f} nats per example",
        f"{loose['bits_per_dim']:.4f}",
    )
    if summary["ode"]:
        view.add_section()
        row(f"another model: {summary['ode']['bound']}", summary["ode"])
    return view


def notes(summary: dict[str, Any]) -> list[str]:
    """What the numbers can and cannot tell."""
    diffusion = summary["continuous"] is not None
    lines = [LOOSENESS, LEVELS] if diffusion else [LOOSENESS]
    if summary["importance"]["median_effective_draws"] < EFFECTIVE:
        lines.append(
            "one draw outweighs all others here, so most of the looseness may be left: more --draws help slowly"
            + (", fewer --steps or --kernel mixture help more" if diffusion else "")
        )
    if diffusion:
        lines.append(
            "the looseness is that of the discrete-time model, which is not the continuous one: the difference of the "
            "two bounds is one of two models"
        )
    if summary["ode"]:
        lines.append(ANOTHER)
    return lines

"""`vlb.evaluate`: how likely a model finds data, in bits/dim, with terms, errors and baselines."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.core.ranks import ALONE, Ranks
from vlb.core.surroundings import ordinary
from vlb.core.terms import BoundKind
from vlb.data import Dataset, Split
from vlb.data.dataset import SPLITS
from vlb.data.given import load_examples, told
from vlb.measure.discretise import PLACEMENTS, Discretisation, check_placement, discretise, kernel_named
from vlb.measure.evaluation import BATCH, Bounded, Keep, check, measure_bound
from vlb.measure.evaluation_file import Subject
from vlb.measure.keeper import Keeper, place
from vlb.measure.likelihoods import check_names, importance, ode, part, solver_error
from vlb.measure.options import EvaluateOptions
from vlb.measure.planning import planning, stratified
from vlb.measure.recognition import Recognition, recognise
from vlb.measure.summary import PLAIN, EvaluationResult, summarise
from vlb.models.diffusion.stratified import StratifiedBound
from vlb.models.protocols import Denoising, how_given, offers, refuse_given
from vlb.store.runs import Run, diffusion_model

PASSES, COSTLY_PASSES, CONTINUOUS_PASSES = 8, 4, 3
BUDGET = 16  # by default, a precision may cost so many times the passes made anyway
LARGE = 2000
DEFAULT = EvaluateOptions()


@dataclass(frozen=True)
class Target:
    """What is evaluated. conditional: whether the model is told labels; data: of which examples are evaluated, beside
    baselines; apart: what plans, placements and dequantisers are fitted on; run: where the model is from, if a run."""

    model: Bounded
    conditional: bool
    data: Dataset
    apart: Dataset
    run: Run | None


@overload
def evaluate(
    target: Bounded,
    split: str | Path | Split = "test",
    options: EvaluateOptions = DEFAULT,
    *,
    apart: Dataset,
    conditional: bool = False,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> EvaluationResult: ...


@overload
def evaluate(
    target: Run | str | Path,
    split: str | Path | Split = "test",
    options: EvaluateOptions = DEFAULT,
    *,
    apart: Dataset | None = None,
    data: Path | None = None,
    values: Path | None = None,
    keep: bool = False,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> EvaluationResult | Recognition: ...


@ordinary()
def evaluate(
    target: Bounded | Run | str | Path,
    split: str | Path | Split = "test",
    options: EvaluateOptions = DEFAULT,
    *,
    apart: Dataset | None = None,
    conditional: bool = False,
    data: Path | None = None,
    values: Path | None = None,
    keep: bool = False,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
    ranks: Ranks = ALONE,
) -> EvaluationResult | Recognition:
    """The bound on −log p(x) of held-out data in bits/dim; of a ladder network, which has none, its error rate.

    With the same options and seed it gives the numbers of `vlb evaluate`.

    target: a run, its directory, or a model, which may be any bound. split: test, validation or train, the path of
    examples of one's own, or the examples. apart: the data on which plans, placements and dequantisers are fitted, a
    run's own by default; a model needs it, and has its baselines and its splits by name from it. conditional: whether
    a model is told the labels; a run knows. data: where a run's own data are now, if they have moved. values: a file to
    keep the values per example in, where an interrupted evaluation is gone on with; keep: keep them in RUN/evaluations
    if there is no `values`. ranks: this process among those that share the batches out, as `vlb.core.ranks.joined`
    finds them; all return what one alone would, and the first writes.

    Raises `UserError` for what is not there, and for options that the model cannot serve.
    """
    check_names(options)
    if options.steps is not None and not options.integrates:
        kernel_named(options.kernel or "standard")
        check_placement(options.placement or "t", options.steps)
    given = isinstance(split, Split) or str(split) not in SPLITS
    progress.begin("opening the model and the data")
    of = _target(target, apart, conditional, data, device, given, progress)
    name, examples, own, left_out = _examples(of, split, progress)
    if options.given:
        refuse_given(of.model, options.given)
        examples = told(examples, own.schema, options.given)
        part: dict[str, Any] = {name: examples}
        own = dataclasses.replace(own, **part)
    of = dataclasses.replace(of, data=own)
    if offers(of.model, Denoising):
        _refuse_of_classifiers(of.model, options, values)
        return recognise(of.model, examples, device=device, progress=progress)
    if of.run is None and values is not None:
        raise UserError("values are kept of runs, whose weights have a fingerprint: leave out values, or give the run")
    result = evaluated(of, name, examples, options, values, keep, device, progress, ranks)
    return dataclasses.replace(result, left_out=left_out)


def evaluated(
    of: Target,
    split: str,
    whole: Split,
    options: EvaluateOptions,
    values: Path | None,
    keep: bool,
    device: torch.device | str,
    progress: Progress,
    ranks: Ranks = ALONE,
) -> EvaluationResult:
    """The bound of a target that is open, on the examples of a split of that name; the rest as `evaluate` has it."""
    levels, chosen = _discretised(of, options, progress), None
    target: Bounded = of.model if levels is None else levels[0]
    if options.likelihood == "importance":
        chosen = importance(options, target)
    elif options.integrates:
        chosen = ode(options, of.model, of.apart, of.conditional)
    bound = chosen.bound if chosen else target
    index = part(options, whole)
    examples = whole if len(index) == len(whole) else whole.take(index)
    check(bound, examples)
    ways = planning(bound)
    continuous = ways is not None
    # So many examples make the Monte Carlo error of their mean small without the cost of planned draws.
    planned = continuous and (len(examples) <= LARGE or options.precision is not None)
    described = None if levels is None else levels[1]
    subject = _subject(of, split, examples, bound.bound, options, planned, described)
    if keep and values is None and of.run is not None:
        values = place(of.run.path, subject, index, progress)
    keeper = Keeper(values, subject, index)
    ranks.refuse_different(lambda: (subject.encode(), index.tobytes(), keeper.begun))
    estimator = None
    if planned and ways is not None:
        bound = estimator = stratified(ways, of.apart, split, of.conditional, of.run, keeper, progress, ranks)
    least, most = _effort(options, COSTLY_PASSES if options.costly else CONTINUOUS_PASSES if continuous else PASSES)
    evaluation = measure_bound(
        bound,
        examples,
        conditional=of.conditional,
        passes=least,
        precision=options.precision,
        budget=most,
        seed=options.seed,
        device=device,
        keep=keeper if ranks.writes else Keep(keeper.tally),
        progress=progress,
        ranks=ranks,
    )
    result = summarise(evaluation, of.data, split, examples)
    return dataclasses.replace(
        result,
        bound=_said(result.bound, of.model, described, options),
        discretisation=described,
        kept=keeper.path,
        estimator=None if estimator is None else _describe(estimator, evaluation.passes),
        likelihood=PLAIN if chosen is None else chosen.describe(evaluation),
        solver_error=solver_error(evaluation),
        precision=options.precision,
    )


def _said(bound: BoundKind, model: Bounded, rungs: Discretisation | None, options: EvaluateOptions) -> BoundKind:
    """What the bound is, with what belongs to it."""
    if options.given:
        bound = bound.with_how(f"given {', '.join(options.given)}{how_given(model)}")
    return bound if rungs is None else bound.with_how(f"rungs {PLACEMENTS[rungs.placement]}")


def _target(
    target: Bounded | Run | str | Path,
    apart: Dataset | None,
    conditional: bool,
    data: Path | None,
    device: torch.device | str,
    given: bool,
    progress: Progress,
) -> Target:
    if isinstance(target, str | Path):
        target = Run.open(target)
    if isinstance(target, Run):
        model = target.model(device)
        own = target.reference(model, data) if given and apart is None else target.data(data)
        if own.why:
            progress.say(own.why)
        told = target.conditional
        return Target(model, told, own, own if apart is None else apart, target)
    if apart is None:
        raise UserError("a model alone does not say what it is compared with: give its data as apart=DATASET")
    return Target(target, conditional, apart, apart, None)


def _examples(of: Target, split: str | Path | Split, progress: Progress) -> tuple[str, Split, Dataset, str]:
    """The name of the split, its examples, the data with these in their place, and what was left out of a file."""
    if isinstance(split, str) and split in SPLITS:
        return split, of.data.split(split), of.data, ""
    if isinstance(split, Split):
        own, left_out = of.data.with_test("given examples", split), ""
    elif Path(split).exists():
        own, left_out = _with_own(of.data, Path(split), of.conditional, progress)
    else:
        return str(split), of.data.split(str(split)), of.data, ""  # which says what there is
    return "test", own.test, own, left_out


def _with_own(data: Dataset, path: Path, conditional: bool, progress: Progress) -> tuple[Dataset, str]:
    """The data with a person's own examples for a test split, called after them, and what was left out of these. Raises
    `UserError` if they differ."""
    given = load_examples(path, data.schema, conditional=conditional)
    for note in given.notes:
        progress.say(note)
    if given.left_out:
        progress.say(given.left_out)
    return data.with_test(path.name, given.split), given.left_out


def _refuse_of_classifiers(model: Denoising, options: EvaluateOptions, values: Path | None) -> None:
    if options.costly or options.steps is not None:
        raise UserError(model.why_not)
    if options != DEFAULT or values is not None:
        raise UserError(
            "a ladder network is judged by one pass over the whole split, without draws: leave out --examples, "
            "--passes, --precision, --budget, --seed and --values"
        )


def _discretised(of: Target, options: EvaluateOptions, progress: Progress) -> tuple[Bounded, Discretisation] | None:
    """The hierarchy of T steps and what there is to say of it, where one was asked for."""
    if options.steps is None or options.integrates:
        return None
    name, where = options.kernel or "standard", options.placement or "t"
    model = diffusion_model(of.model, "a bound in --steps of discrete time")
    kernel, apart = kernel_named(name), of.apart.validation
    hierarchy = discretise(model, apart, options.steps, kernel, where, of.conditional, progress)
    gamma = model.process.schedule.gamma(hierarchy.grid).mean(-1)
    return hierarchy, Discretisation(options.steps, name, where, hierarchy.grid.tolist(), gamma.tolist())


def _subject(
    of: Target,
    split: str,
    examples: Split,
    bound: BoundKind,
    options: EvaluateOptions,
    planned: bool,
    discretisation: Discretisation | None,
) -> Subject:
    ways = ("likelihood", "draws", "dequantisation", "divergence", "tolerance")
    used: dict[str, Any] = {
        "seed": options.seed,
        "batch": BATCH,
        "estimator": "stratified" if planned else "terms",
        "likelihood": {way: getattr(options, way) for way in ways} | {"examples": None},
        "discretisation": None if discretisation is None else dataclasses.asdict(discretisation),
    }
    if options.given:
        used |= {"given": list(options.given), "modelled": of.data.split(split).dimensions}
    if examples.counted is not None:
        used |= {"modelled": examples.dimensions}
        used |= {"sizes": "their own"} if examples.whole is None else {"tiles": len(examples)}
    if of.apart.fingerprint != of.data.fingerprint and of.apart.train is not of.data.train:
        used["apart"] = of.apart.fingerprint
    data = of.data
    return Subject(
        data.name,
        data.fingerprint,
        split,
        data.schema.count,
        data.shape,
        bound,
        of.conditional,
        "a model in memory" if of.run is None else of.run.fingerprint,
        used,
        data.schema.measure,
    )


def _effort(options: EvaluateOptions, usual: int) -> tuple[int, int]:
    """The least passes, `usual` unless said otherwise, and the most where there is a precision to reach."""
    least = options.passes or min(usual, options.budget or usual)
    return least, options.budget or BUDGET * least


def _describe(estimator: StratifiedBound, passes: int) -> dict[str, Any]:
    return {
        "kind": "stratified",
        "network_evaluations": passes * estimator.evaluations,
        "plan": estimator.plan.encode(),
    }

"""What pages of all kinds of model state alike: the run, and its bound on test examples."""

import platform
import shlex
from importlib.metadata import version

import numpy as np
import torch
from torch import nn

from vlb.base.progress import SILENT, Progress
from vlb.data import Dataset, Split
from vlb.measure.evaluate import Target, evaluated
from vlb.measure.evaluation import Bounded
from vlb.measure.options import EvaluateOptions
from vlb.measure.summary import EvaluationResult
from vlb.pages.content import About
from vlb.pages.history import History, history
from vlb.pages.reproduce import changes, making_command
from vlb.store.runs import Run

EXAMPLES = 1000


def stated(
    model: Bounded, run: Run, data: Dataset, device: torch.device | str, progress: Progress = SILENT
) -> EvaluationResult:
    """What `vlb evaluate` finds of at most `EXAMPLES` test examples, or has found and kept in the run; what stands in
    for data that are gone is not kept."""
    of = Target(model, run.conditional, data, data, run)
    options = EvaluateOptions(examples=_few(data.test))
    return evaluated(of, "test", data.test, options, None, not data.why, device, progress)


def few_of(split: Split) -> Split:
    """The examples that `stated` is of, which are taken out of a split where they are few of it."""
    few = _few(split)
    return split if few is None else split.take(split.subset_of_things(few))


def _few(split: Split) -> int | None:
    """How many examples are looked at, or things of which these are pieces: about `EXAMPLES` pieces; None for all."""
    if len(split) <= EXAMPLES:
        return None
    return EXAMPLES if split.whole is None else max(1, EXAMPLES * len(np.unique(split.whole)) // len(split))


def about(run: Run, model: object, data: Dataset, course: History | None = None, whole: bool = False) -> About:
    """What is known of a run; course: of its training, by default that of a bound; whole: whether the page is of all
    test examples whatever their number."""
    assert isinstance(model, nn.Module)
    changed, path = changes(run.experiment), shlex.quote(str(run.path))
    few = None if whole else _few(data.test)
    return About(
        name=run.path.resolve().name,
        shape=data.shape,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        data={"name": data.name, "fingerprint": data.fingerprint},
        made_of=() if run.about is None else tuple(run.about.rows),
        history=history(run) if course is None else course,
        experiment=run.experiment,
        changed=None if changed is None else frozenset(changed),
        versions={
            "vlb": version("vlb"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "Python": platform.python_version(),
        },
        commands=(
            making_command(run.experiment, run.path),
            f"vlb evaluate {path}" + ("" if few is None else f" --examples {few}"),
            f"vlb report {path}",
        ),
    )

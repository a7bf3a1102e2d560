"""Who else is told of a training: what `metrics.jsonl` holds, as curves of TensorBoard or trackio.

A tracker begins with all that the file has, also where a run is gone on with or was trained without one, so that its
curves never have a step twice, or one that a killed process went beyond its last checkpoint.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.base.files import remove
from vlb.store.runs import Run
from vlb.training.metrics import read_metrics

Line = dict[str, Any]
Listener = Callable[[Line], None]
PROJECT = "vlb"
CALLED = {"skipped": "skipped_updates"}  # others are called by their units already, or have none


class Tracker(Protocol):
    """Draws the curves of a run."""

    def require(self) -> None:
        """Raises `UserError` where its package is not installed."""

    def follow(self, run: Run) -> AbstractContextManager[Listener]:
        """What is told of each line that is written from now on; what `metrics.jsonl` has already is drawn before."""


@dataclass(frozen=True)
class TensorBoard:
    """Event files in RUN/tensorboard: `tensorboard --logdir runs` shows those of all runs."""

    def require(self) -> None:
        """Raises `UserError` where TensorBoard is not installed."""
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise UserError(
                "curves in TensorBoard need the package tensorboard: pip install 'vlb[tensorboard]'"
            ) from error

    @contextmanager
    def follow(self, run: Run) -> Iterator[Listener]:
        """Event files made anew."""
        from torch.utils.tensorboard import SummaryWriter

        folder = run.path / "tensorboard"
        for old in folder.glob("events.out.tfevents.*"):
            remove(old)
        writer = SummaryWriter(str(folder))

        def note(line: Line) -> None:
            for name, value in series(line).items():
                writer.add_scalar(name, value, line["step"])

        for line in read_metrics(run):
            note(line)
        try:
            yield note
        finally:
            writer.close()


@dataclass(frozen=True)
class Trackio:
    """A run of trackio's project vlb, called by its folder, kept where trackio keeps all: `trackio show` shows it."""

    def require(self) -> None:
        """Raises `UserError` where trackio is not installed."""
        try:
            import trackio  # noqa: F401
        except ImportError as error:
            raise UserError("curves in trackio need the package trackio: pip install 'vlb[trackio]'") from error

    @contextmanager
    def follow(self, run: Run) -> Iterator[Listener]:
        """The run made anew."""
        import trackio

        name = str(run.path.resolve())
        with suppress(ValueError):  # of a project that there is not
            for old in [one for one in trackio.Api().runs(PROJECT) if one.name == name]:
                old.delete()
        config = {"recipe": run.experiment.recipe, "seed": run.experiment.seed, "data": run.content["data"]["name"]}
        begun = trackio.init(PROJECT, name, config=config, embed=False, auto_log_gpu=False, auto_log_cpu=False)

        def note(line: Line) -> None:
            begun.log(series(line), step=line["step"])

        for line in read_metrics(run):
            note(line)
        try:
            yield note
        finally:
            begun.finish()


TRACKERS = Family("tracker", {"tensorboard": TensorBoard, "trackio": Trackio})


def tracker(tag: str) -> Tracker:
    """The tracker under a tag. Raises `UserError` where there is none, and where its package is not installed."""
    found: Tracker = TRACKERS.kind(tag, "--track")()
    found.require()
    return found


@contextmanager
def followed(trackers: Sequence[Tracker], run: Run) -> Iterator[Listener]:
    """What tells all trackers of a line."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(one.follow(run)) for one in trackers]

        def tell(line: Line) -> None:
            for listener in listeners:
                listener(line)

        yield tell


def series(line: Line) -> dict[str, float]:
    """The numbers of a line of `metrics.jsonl` by names that say their units: training/… and validation/…, of which
    the terms of a bound are in its bits per dimension, too."""
    found = {
        f"training/{CALLED.get(name, name)}": float(value)
        for name, value in line.items()
        if name not in ("step", "validation") and not isinstance(value, str)
    }
    measured = line.get("validation", {})
    bound = "bits_per_dim"
    for name, value in measured.items():
        unit = f"_{bound}" if bound in measured and name != bound else ""
        found[f"validation/{name}{unit}"] = float(value)
    return found

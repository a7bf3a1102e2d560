"""Choosing how to code: for a diffusion model the number of steps for a time budget, then kernel and times.

The cost of every interval is measured on a run's validation examples and the rungs are placed by dynamic
programming (`vlb.models.diffusion.placement`), once per run and number of steps; the choice is kept beside the run.
Other models have their rungs: there is only how finely their latents are told apart, and how they are batched.
"""

import copy
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from vlb.base.errors import UserError, suggestion
from vlb.base.files import write_text
from vlb.base.progress import SILENT, Progress
from vlb.coding.diffusion import FINE, NUMBERED, DiffusionSettings, evenly
from vlb.coding.models import Measuring, Told, chosen_settings
from vlb.coding.sequence import USUAL_LANES, Lanes
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.models.diffusion.grids import UniformLogSNR
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.placement import cheapest, measure_costs

MEASURED = 16  # one measurement places the rungs of every T up to so many
VALUES = 1 << 14  # of the examples by which costs are measured
PLACES, OF_SMALL = 26, 32  # between which rungs are placed, at least: those of examples of few dimensions


@dataclass(frozen=True)
class Effort:
    """steps: T; lanes: how examples are batched."""

    steps: int
    lanes: Lanes = USUAL_LANES


# Time grows with T; the rate falls like the bound in T steps.
EFFORTS = {"fast": Effort(2), "normal": Effort(8), "high": Effort(16), "extreme": Effort(32)}


def effort(name: str) -> Effort:
    """The effort called `name`. Raises `UserError` with a suggestion for an unknown name."""
    if name not in EFFORTS:
        raise UserError(f"there is no effort {name!r}; {suggestion(name, EFFORTS)}")
    return EFFORTS[name]


def placements(
    model: DiffusionModel,
    x: torch.Tensor,
    most: int,
    seed: int = 0,
    progress: Progress = SILENT,
    condition: Condition = UNCONDITIONAL,
) -> dict[int, DiffusionSettings]:
    """T -> kernel and times of least measured cost on examples x (n, *shape), given what is told of them, for every T
    up to `most`.

    The network is asked in float32: costs need no more digits, and places are what the archive says that they are.
    Raises `UserError` where no T has a finite bound.
    """
    model = copy.deepcopy(model)
    if isinstance(model.denoiser, nn.Module):
        model.denoiser.float()
    decodes, dimensions = model.learns_decoder, math.prod(model.shape)
    # Too few draws, and the placing falls for those that came out cheap by luck.
    few = slice(max(16, min(256, VALUES // dimensions)))
    x, condition = x[few], condition.take(few)
    places, parts = _candidates(model, max(OF_SMALL if dimensions < 256 else PLACES, most + 8) - 1)
    best: dict[int, tuple[float, DiffusionSettings]] = {}
    for index, kernel in enumerate(NUMBERED):
        if decodes == kernel.is_noise_error:
            continue  # without p(x | z_t) there is only the standard kernel, and with it both others are better
        generator, times = torch.Generator().manual_seed(seed), torch.tensor(places, dtype=torch.float64) / parts
        progress.begin(f"placing noise levels, {kernel} kernel", len(times) * (len(times) + 1) // 2)
        costs = measure_costs(model, x, times, kernel, generator, condition, progress)
        for steps in range(1, min(most, len(places) - 1) + 1):
            placed = cheapest(costs, steps)
            total = costs.total(placed)
            if math.isfinite(total) and (steps not in best or total < best[steps][0]):
                best[steps] = total, DiffusionSettings(index, tuple(places[i] for i in placed.tolist()), parts)
    if not best:
        raise UserError("the bound of this model is not finite on its validation data: it cannot code")
    return {steps: settings for steps, (_, settings) in best.items()}


@chosen_settings.register
def remembered(model: DiffusionModel, by: Measuring, steps: int, lanes: Lanes) -> DiffusionSettings:
    """Kernel and times of least measured cost, or those of the last time, from `coding.json` in the run's folder."""
    return placed(model, by, by.folder / "coding.json", by.examples, steps, lanes)


def placed(
    model: DiffusionModel,
    by: Measuring,
    file: Path,
    examples: Callable[[], Told | None],
    steps: int,
    lanes: Lanes,
) -> DiffusionSettings:
    """Kernel and times of least measured cost on examples, or those of the last time, from `file`.

    Without examples the rungs are spread evenly in λ.
    """
    known = _known(file, by.digest)
    found = None if steps in known else examples()
    if steps not in known and (found is None or not len(found[0])):
        kernel = 2 if model.learns_decoder else 0
        places, parts = _candidates(model, steps)
        if len(places) != steps + 1:
            return evenly(kernel, steps, lanes=lanes)
        return DiffusionSettings(kernel, places, parts, lanes=lanes)
    if found is not None:
        x, condition = found
        known = placements(model, x, max(steps, MEASURED), progress=by.progress, condition=condition) | known
        entries = {
            str(steps): {"kernel": settings.kernel, "places": settings.places, "parts": settings.parts}
            for steps, settings in sorted(known.items())
        }
        with suppress(UserError):  # a run that cannot be written to is measured again the next time
            write_text(file, json.dumps({"model": by.digest.hex(), "steps": entries}, indent=2) + "\n")
    if steps not in known:
        raise UserError(f"so many steps as {steps} do not fit between this model's ends: use fewer --steps")
    return replace(known[steps], lanes=lanes)


def _known(file: Path, digest: bytes) -> dict[int, DiffusionSettings]:
    """What an earlier measurement said of this model; nothing of another model, or from a file that is damaged."""
    try:
        content = json.loads(file.read_text())
        if content["model"] != digest.hex():
            return {}
        found = {
            int(steps): DiffusionSettings(int(entry["kernel"]), tuple(map(int, entry["places"])), int(entry["parts"]))
            for steps, entry in content["steps"].items()
        }
        # As if it came from an archive: what makes no sense is `Damaged`.
        sound = all(settings == _again(settings) and settings.steps == steps for steps, settings in found.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, Damaged):
        return {}
    return found if sound else {}


def _again(settings: DiffusionSettings) -> DiffusionSettings:
    writer = Writer()
    settings.write(writer)
    return DiffusionSettings.read(Reader(writer.content()))


def _candidates(model: DiffusionModel, steps: int) -> tuple[tuple[int, ...], int]:
    """Times even in log SNR as places and the parts that they are of: few parts if that makes them even in t."""
    times = UniformLogSNR()(model.process.schedule, steps).cpu()
    even = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    if bool(torch.isclose(times, even, rtol=0, atol=1e-9).all()):
        return tuple(range(steps + 1)), steps
    return tuple(sorted({round(time) for time in (times * FINE).tolist()})), FINE

"""Choosing how to code: for a diffusion model the number of levels for a time budget, then kernel and places.

The cost of every interval is measured on a run's validation examples and the levels are placed by dynamic
programming (`vlb.placement`), once per run and number of levels; the choice is kept beside the run. Other models
have their levels: there is only how finely their latents are told apart, and how many examples are coded at once.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from vlb.coding.diffusion import KERNELS, TIME_UNIT, DiffusionSettings
from vlb.coding.hierarchies import measured
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.models import CodedModel
from vlb.coding.settings import Settings
from vlb.errors import UserError, suggestion
from vlb.files import write_text
from vlb.grids import uniform_log_snr
from vlb.kernel import Standard
from vlb.models.diffusion import DiffusionModel
from vlb.models.hvae import VariationalHierarchy
from vlb.placement import cheapest, measure_costs


@dataclass(frozen=True)
class Effort:
    """steps: T; lanes: examples coded at once."""

    steps: int
    lanes: int


# Time grows with T; the rate falls like the bound on T levels.
EFFORTS = {"fast": Effort(2, 64), "normal": Effort(8, 64), "high": Effort(16, 64), "extreme": Effort(32, 64)}


def effort(name: str) -> Effort:
    """The effort called `name`. Raises `UserError` with a suggestion for an unknown name."""
    if name not in EFFORTS:
        raise UserError(f"there is no effort {name!r}; {suggestion(name, EFFORTS)}")
    return EFFORTS[name]


def chosen_settings(folder: Path, digest: bytes, model: CodedModel, x: torch.Tensor | None, chosen: Effort) -> Settings:
    """How to code with any model; x (n, *shape): examples to measure costs on, samples of the model without any."""
    if isinstance(model, DiffusionModel):
        return remembered(folder, digest, model, x, chosen)
    if isinstance(model, VariationalHierarchy):
        if x is None or not len(x):
            x = model.sample(64, generator=torch.Generator().manual_seed(0))
        return measured(model, x[:256], chosen.lanes)
    return MixtureSettings(chosen.lanes)


def calibrated(model: DiffusionModel, x: torch.Tensor | None, chosen: Effort, seed: int = 0) -> DiffusionSettings:
    """Kernel and levels of least measured cost on examples x (n, *shape); spread evenly in λ without any."""
    decodes = model.learns_decoder
    if x is None or not len(x):
        return DiffusionSettings(2 if decodes else 0, chosen.steps, _spread(model, chosen.steps), lanes=chosen.lanes)
    dimensions = math.prod(model.shape)
    # Too few draws, and the placing falls for those that came out cheap by luck.
    x = x[: max(16, min(256, (1 << 14) // dimensions))]
    ticks = torch.tensor(_ticks(model, max(32 if dimensions < 256 else 26, chosen.steps + 8) - 1))
    best: tuple[float, DiffusionSettings] | None = None
    for index, kernel in enumerate(KERNELS):
        if decodes == isinstance(kernel, Standard):
            continue  # without p(x | z_t) there is only the standard kernel, and with it both others are better
        generator = torch.Generator().manual_seed(seed)
        costs = measure_costs(model, x, ticks.double() / TIME_UNIT, kernel, generator)
        placed = cheapest(costs, chosen.steps)
        settings = DiffusionSettings(index, chosen.steps, tuple(int(ticks[i]) for i in placed), lanes=chosen.lanes)
        total = costs.total(placed)
        if math.isfinite(total) and (best is None or total < best[0]):
            best = total, settings
    if best is None:
        raise UserError("the bound of this model is not finite on its validation data: it cannot code")
    return best[1]


def remembered(
    folder: Path, digest: bytes, model: DiffusionModel, x: torch.Tensor | None, chosen: Effort
) -> DiffusionSettings:
    """`calibrated`, or what it said the last time, from `coding.json` in `folder`."""
    file, key = folder / "coding.json", f"{digest.hex()} {chosen.steps}"
    try:
        known = json.loads(file.read_text())
        entry = known[key]
        times = tuple(map(int, entry["times"]))
        settings = DiffusionSettings(int(entry["kernel"]), chosen.steps, times, lanes=chosen.lanes)
        if len(times) == chosen.steps + 1 and 0 <= settings.kernel < len(KERNELS):
            return settings
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    settings = calibrated(model, x, chosen)
    if x is not None and len(x):
        try:
            kept = {k: v for k, v in known.items() if k.startswith(digest.hex())} if isinstance(known, dict) else {}
            kept[key] = {"kernel": settings.kernel, "times": list(settings.times or ())}
            write_text(file, json.dumps(kept, indent=2) + "\n")
        except UserError:
            pass  # a run that cannot be written to is measured again the next time
    return settings


def _spread(model: DiffusionModel, steps: int) -> tuple[int, ...] | None:
    ticks = _ticks(model, steps)
    return tuple(ticks) if len(ticks) == steps + 1 else None


def _ticks(model: DiffusionModel, steps: int) -> list[int]:
    times = uniform_log_snr(model.process.schedule, steps) * TIME_UNIT
    return sorted({round(time) for time in times.tolist()})

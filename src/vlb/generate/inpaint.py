"""Pixels of pictures, filled from p(pixels under a mask | the others)."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.files import made_new, written_new
from vlb.base.progress import Progress
from vlb.base.results import Result, Table
from vlb.base.words import so_many
from vlb.core.condition import Condition, Role
from vlb.core.layouts import Image
from vlb.data.brought import ITSELF, Brought, brought
from vlb.data.masks import masks
from vlb.generate.batches import Bar, batch_size
from vlb.generate.gaps import trusted
from vlb.generate.options import ImputeOptions
from vlb.generate.outputs import outputs
from vlb.measure.evaluation import seed_of
from vlb.models.protocols import Draws, Filling, LikelihoodModel, offers, require, require_roles
from vlb.store.runs import Run

PURPOSE = "filling pictures"
FILLED_BY = 128  # draws of a picture that are held at once by a model that weighs them
WHOLE = "train on pictures of one size, without --crop"


@dataclass(frozen=True)
class InpaintResult(Result):
    """What `vlb.impute` returns of pictures. x: (draws, n, C, H, W) levels, of which the pixels that are known are
    those that were brought; holes: (n, H, W), where pixels were filled; pictures: as they were brought; effort: how far
    the draws can be trusted, in words, empty where they are of the model's own law."""

    x: np.ndarray
    holes: np.ndarray
    pictures: Brought
    effort: str = ""

    @property
    def words(self) -> str:
        """How many pixels, and how."""
        pixels, draws = int(self.holes.sum()), len(self.x)
        many = so_many(len(self.holes), "picture")
        if not pixels:
            return f"no pixel is to be filled: {many} copied"
        how = f"{so_many(pixels, 'pixel')} of {many} filled, in {so_many(draws, 'draw')}"
        return f"{how}, {self.effort}" if self.effort else how

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"x": self.x.tolist(), "pixels": self.holes.sum((1, 2)).tolist(), "how": self.words}

    def table(self) -> Table:
        """How many pixels of how many pictures."""
        shape = " × ".join(map(str, self.x.shape[2:]))
        share = f"{self.holes.mean():.1%}"
        return Table(self.words, ("", ""), ((("shape", shape), ("share of pixels filled", share)),))

    def write(self, out: str | Path) -> tuple[Path, ...]:
        """Write each draw to a new file of the kind that was brought, or to a new folder of a folder: `out`, or of
        several draws NAME-1.png, NAME-2.png, … beside it; all or none. Raises `UserError` for one that exists, and for
        a kind of file that would change pixels that are known."""
        paths = outputs(Path(out), len(self.x))
        with ExitStack() as stack:
            for path, x in zip(paths, self.x, strict=True):
                found = self.pictures.written(x, path.suffix.lower())
                if ITSELF in found:
                    stack.enter_context(written_new(path)).write_bytes(found[ITSELF])
                    continue
                folder = stack.enter_context(made_new(path))
                for name, content in found.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(content)
        return paths


def inpaint(
    run: Run, pictures: Any, mask: Any, options: ImputeOptions, device: torch.device | str, progress: Progress
) -> InpaintResult:
    """See `vlb.impute`. Raises `UserError` for a run of no images, and for a model that was not trained for it."""
    if not isinstance(run.schema.layout, Image):
        raise UserError(
            f"a mask says which pixels of pictures are to be filled, and {run.path} is of examples of shape "
            f"{run.schema.shape}: leave it out"
        )
    run.schema.refuse_pieces(PURPOSE, WHOLE)
    of_tables = replace(ImputeOptions(), draws=options.draws, seed=options.seed)
    if given := [f.name for f in fields(options) if getattr(options, f.name) != getattr(of_tables, f.name)]:
        raise UserError(f"pictures are drawn, and --{given[0]} is of tables: leave it out")
    run.refuse_unlabelled(f"{PURPOSE} without a class")
    model = require(run.model(device), LikelihoodModel, PURPOSE)
    if not offers(model, Filling):
        require_roles(model, PURPOSE)
        run.refuse_untaught(PURPOSE)
    found = brought(pictures, run.schema)
    holes, notes = masks(mask, found)
    for note in (*found.notes, *notes):
        progress.say(note)
    x = np.repeat(found.x[None], options.draws, 0)
    progress.begin(f"filling {so_many(len(found.x), 'picture')}", options.draws * len(found.x))
    bar, trust = Bar(progress), []
    for own, law in laws(model, found.x, holes, options.seed, batch_size(run.schema), device):
        trust.append(law)
        for number in range(options.draws):
            generator = torch.Generator().manual_seed(seed_of(seed_of(options.seed, number), int(own[0])))
            x[number, own] = law.sample(generator).cpu().numpy().astype(x.dtype)
            bar.move(len(own))
    return InpaintResult(x, holes, found, trusted(trust, "picture"))


def laws(
    model: LikelihoodModel,
    x: np.ndarray,
    holes: np.ndarray,
    seed: int,
    size: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[np.ndarray, Draws]]:
    """What a model on a device says of the pixels in `holes` (n, H, W) of images x (n, C, H, W), given the others: of
    those with any, at most `size` at once, which, (m,), and their law. seed: of what laws draw that are not exact."""
    open_ = np.flatnonzero(holes.any((1, 2)))
    most = max(1, size // FILLED_BY) if offers(model, Filling) else size
    for start in range(0, len(open_), most):
        own = open_[start : start + most]
        known = torch.from_numpy(np.broadcast_to(~holes[own, None], x[own].shape).copy())
        values = torch.from_numpy(x[own].astype(np.int64)).masked_fill(~known, 0)
        if offers(model, Filling):
            generator = torch.Generator().manual_seed(seed_of(seed, int(own[0])))
            yield own, model.unknown(values.to(device), known.to(device), generator)
        else:
            role = torch.where(known, int(Role.KNOWN), int(Role.MODELLED)).to(torch.uint8)
            yield own, Told(model, Condition(role=role, values=values).to(device))


@dataclass(frozen=True, eq=False)
class Told:
    """What a model that is told the known elements draws of the others."""

    model: LikelihoodModel
    condition: Condition

    def sample(self, generator: torch.Generator) -> Tensor:
        """(n, *shape), the known elements as they are."""
        role, values = self.condition.role, self.condition.values
        assert role is not None and values is not None
        drawn = self.model.sample(len(role), generator=generator, condition=self.condition)
        return torch.where(role == Role.KNOWN, values, drawn.to(values.dtype))

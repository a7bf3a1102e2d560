"""Pixels of pictures, filled from p(pixels under a mask | the others)."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.base.files import made_new, written_new
from vlb.base.progress import Progress
from vlb.base.results import Result, Table
from vlb.base.words import so_many
from vlb.core.condition import Condition, Role
from vlb.core.schema import Image
from vlb.data.brought import ITSELF, Brought, brought
from vlb.data.masks import masks
from vlb.generate.batches import batch_size
from vlb.generate.options import ImputeOptions
from vlb.generate.outputs import outputs
from vlb.measure.evaluation import seed_of
from vlb.models.protocols import LikelihoodModel, require, require_roles
from vlb.store.runs import Run

PURPOSE = "filling pictures"
WHOLE = "train on pictures of one size, without --crop"


@dataclass(frozen=True)
class InpaintResult(Result):
    """What `vlb.impute` returns of pictures. x: (draws, n, C, H, W) levels, of which the pixels that are known are
    those that were brought; holes: (n, H, W), where pixels were filled; pictures: as they were brought."""

    x: np.ndarray
    holes: np.ndarray
    pictures: Brought

    @property
    def words(self) -> str:
        """How many pixels, and how."""
        pixels, draws = int(self.holes.sum()), len(self.x)
        many = so_many(len(self.holes), "picture")
        if not pixels:
            return f"no pixel is to be filled: {many} copied"
        return f"{so_many(pixels, 'pixel')} of {many} filled, in {so_many(draws, 'draw')}"

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
    model = require_roles(require(run.model(device), LikelihoodModel, PURPOSE), PURPOSE)
    run.refuse_untaught(PURPOSE)
    found = brought(pictures, run.schema)
    holes, notes = masks(mask, found)
    for note in (*found.notes, *notes):
        progress.say(note)
    x = np.empty((options.draws, *found.x.shape), found.x.dtype)
    progress.begin(f"filling {so_many(len(found.x), 'picture')}", options.draws * len(found.x))
    done = 0
    for number in range(options.draws):
        at = 0
        for batch in filled(model, found.x, holes, seed_of(options.seed, number), batch_size(run.schema), device):
            x[number, at : at + len(batch)] = batch
            at, done = at + len(batch), done + len(batch)
            progress.at(done)
    return InpaintResult(x, holes, found)


def filled(
    model: LikelihoodModel,
    x: np.ndarray,
    holes: np.ndarray,
    seed: int,
    size: int,
    device: torch.device | str = "cpu",
) -> Iterator[np.ndarray]:
    """One draw of the pixels in `holes` (n, H, W) of images x (n, C, H, W), given the others, by pieces of `size`, by a
    model on a device."""
    for start in range(0, len(x), size):
        own = x[start : start + size]
        unknown = np.broadcast_to(holes[start : start + size, None], own.shape)
        if not unknown.any():
            yield own
            continue
        values, open_ = torch.from_numpy(np.array(own, np.int64)), torch.from_numpy(unknown.copy())
        role = torch.where(open_, Role.MODELLED, Role.KNOWN).to(torch.uint8)
        generator = torch.Generator().manual_seed(seed_of(seed, start))
        known = Condition(role=role, values=values.masked_fill(open_, 0)).to(device)
        drawn = model.sample(len(own), generator=generator, condition=known)
        yield np.where(unknown, drawn.cpu().numpy(), own).astype(x.dtype)

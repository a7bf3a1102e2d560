"""What a trained model depends on besides its recipe. It needs no torch.

A field is the flag of `vlb train` of the same name: its name, type, default and entry below are the flag's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vlb.base.domains import PointCount, Seed, Whole, Width, Within
from vlb.base.errors import UserError
from vlb.base.options import Names, Options


@dataclass(frozen=True)
class TrainOptions(Options):
    """What differs from the recipe. Raises `UserError` for a seed out of range.

    Parameters
    ----------
    condition
        `labels` models p(x|y).
    seed
        Seed of everything random.
    overrides
        Override a field, e.g. --set steps=500 --set model.backbone.dropout=0.1; may be repeated.
    header
        The first row of a table names its columns; --no-header where it is data.
    leave_out
        Columns of a table that are not to be modelled, such as identifiers: --leave-out id name.
    schema
        A schema.toml that says what the columns of a table hold, such as the one that a run writes.
    crop
        Train on random crops of so many pixels a side of a folder of pictures of any size, which are seen in tiles of
        that size.
    margin
        Pixels around a tile that are known, as far as they are of tiles before it, with --crop; for models that are
        told roles: --set model.roles=true.
    window
        Samples of each channel in an example, of sound; 512 by default.
    mu_law
        Hear 16-bit sound as 8-bit µ-law.
    skip_damaged
        Leave out, and count, recordings, clouds and meshes that are damaged, and with --crop pictures.
    points
        Points of a cloud: of larger ones and of the surfaces of meshes as many are taken. By default clouds have as
        many as they come with, and of a mesh 256 are taken.
    """

    condition: str | None = None
    seed: Seed | None = None
    overrides: Annotated[tuple[str, ...], Parameter(name="--set")] = ()
    header: Annotated[bool, Parameter(negative="--no-header")] = True
    leave_out: Names = ()
    schema: Path | None = None
    crop: Width | None = None
    margin: Whole = 0
    window: Annotated[int, Within(16, 1 << 20)] | None = None
    mu_law: Annotated[bool, Parameter(negative="")] = False
    skip_damaged: Annotated[bool, Parameter(negative="")] = False
    points: PointCount | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop is None and self.margin:
            raise UserError("--margin belongs to --crop: say of how many pixels a tile is")

"""What the codec asks of a model of any kind: the module that codes the kind answers, and registers here."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError, broken
from vlb.base.progress import SILENT, Progress
from vlb.coding.cells import Rows, Uncodable
from vlb.coding.rows import CODES
from vlb.coding.sequence import Lanes, SequenceCodec
from vlb.coding.wire import Writer
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.schema import Schema
from vlb.measure.evaluation import Bounded
from vlb.models.protocols import LikelihoodModel, require

Model = TypeVar("Model", bound=nn.Module)
Told: TypeAlias = tuple[Tensor, Condition]  # examples (n, *shape), and what is told of them
Coded: TypeAlias = Any  # a module that is a `LikelihoodModel`, too, which no annotation can say


class Settings(Protocol):
    """How a model of one kind is used as a code: what a header says of it, and the codec made of it.

    latent: whether the code draws latents, of which others may be tried; any_depth: whether a model can have any number
    of noise levels; gaps: whether examples are rows of tables with gaps, as `rows` numbers them; usual: how examples
    are batched where nobody says.
    """

    latent: ClassVar[bool]
    any_depth: ClassVar[bool]
    gaps: ClassVar[bool]
    usual: ClassVar[Lanes]

    @property
    def lanes(self) -> Lanes: ...

    @property
    def passes(self) -> int:
        """How often a network is asked about one example."""

    def write(self, writer: Writer) -> None: ...

    def codec(self, model: Coded) -> SequenceCodec: ...

    def bounded(self, model: Coded) -> Bounded:
        """The bound, of examples as they are coded, that the code's rate is measured against."""

    def describe(self) -> dict[str, str]: ...


@singledispatch
def marginals(model: nn.Module, condition: Condition = UNCONDITIONAL) -> Rows | None:
    """The code of (D,) levels: what the model says of each dimension by itself; uniform where it is silent. None where
    no example is ever coded by them. condition: what is told of one example, if anything is.

    Raises `UserError` for a model of continuous data, whose density is no code.
    """
    raise TypeError(f"marginals of a {type(model).__name__}")


@singledispatch
def coded_by(model: nn.Module) -> type[Settings]:
    """The kind of settings that a model is coded with. Raises `UserError` for a kind without a code."""
    require(model, LikelihoodModel, "compression needs a model of discrete data")
    raise UserError(f"there is no code for a {type(model).__name__}: compression needs a model of discrete data")


@dataclass(frozen=True)
class Measuring:
    """What settings are chosen by. folder: of the run, where measurements are kept beside the model's digest; examples:
    reads some (n, *shape) to measure costs on, and what is told of them, None where there are none, and is called only
    where they are needed; progress: told of what takes long."""

    folder: Path
    digest: bytes
    examples: Callable[[], Told | None]
    progress: Progress = SILENT


@singledispatch
def chosen_settings(model: nn.Module, by: Measuring, steps: int, lanes: Lanes) -> Settings:
    """How to code with a model; steps: T, where a model can have any."""
    raise TypeError(f"settings for a {type(model).__name__}")


def levels(schema: Schema) -> int:
    """K, as a header has it."""
    return CODES if schema.gaps else schema.levels


@torch.no_grad()
def checked(model: Coded, gaps: bool = False, condition: Condition = UNCONDITIONAL) -> Coded:
    """The model, if it can code; gaps: rows of tables with gaps; condition: what is told of one example.
    Raises `UserError` with the reason if not."""
    kind = coded_by(model)
    if gaps and not kind.gaps:
        raise UserError(
            f"there is no code for tables with gaps by a {type(model).__name__}: compress with a run of the recipe "
            "table, whose model is a mixture"
        )
    try:
        # Kinds that are told nothing register no condition.
        marginals(model) if condition.nothing else marginals(model, condition)
    except Uncodable as error:
        raise broken(str(error)) from error
    return model


def prepared(model: Model) -> Model:
    """A copy in float64, where machines differ in the 16th digit instead of the 7th."""
    return widened(copy.deepcopy(model))


def widened(model: Model) -> Model:
    """The same model in float64, for one that nobody else has."""
    return model.double().eval().requires_grad_(False)


def continuous() -> UserError:
    """Why a density is no code."""
    return UserError(
        "only models of discrete data compress: a density has no bits until a precision is chosen; voxels of a shape "
        "have them (the recipe volumes), and so have the columns of a table with a resolution (the recipe table)"
    )

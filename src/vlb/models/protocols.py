"""What every model with a likelihood offers, whatever its hierarchy: the terms of its bound, and samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeGuard, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.terms import BoundKind, TermPath

Capability = TypeVar("Capability")


@runtime_checkable
class LikelihoodModel(Protocol):
    """A model of x (batch, *shape) with a bound on log p(x), or log p(x) itself."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bound(self) -> BoundKind:
        """What the sum of the terms is."""

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a `Condition` that it takes; it refuses the others first, by a `UserError`."""

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One unbiased draw of the terms of −VLB(x), (batch,) nats each, that add up to it, by path."""

    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """n examples from the model, (n, *shape)."""


def offers(model: object, capability: Callable[..., Capability]) -> TypeGuard[Capability]:
    """Whether a model has a capability, one of the protocols here."""
    return isinstance(model, cast(type[Capability], capability))


def require(model: object, capability: Callable[..., Capability], purpose: str) -> Capability:
    """The model, if it has a capability: one of the protocols here, or the class of a kind whose whole is needed.

    Raises `UserError` with the model's own reason, `why_not`, or with the purpose and what the model is.
    """
    if isinstance(model, cast(type[Capability], capability)):
        return model
    reason = getattr(model, "why_not", None)
    raise UserError(reason or f"{purpose}, and this run holds a {type(model).__name__}")


def refuse_given(model: object, names: Sequence[str]) -> None:
    """Raises `UserError` for a model that cannot be told the columns of these names, where there are any."""
    if names and "role" not in getattr(model, "takes", ()):
        raise UserError(
            f"--given needs a model that knows its columns given others, as those of tables with gaps do, and this "
            f"is a {type(model).__name__}: leave it out"
        )


def require_roles(model: LikelihoodModel, purpose: str) -> LikelihoodModel:
    """The model, if it can be told which elements are known. Raises `UserError` with what to train if not."""
    if not {"role", "values"} <= model.takes:
        raise UserError(
            f"{purpose} needs a model that can be told which elements are known, and this run holds a "
            f"{type(model).__name__} that cannot: train a diffusion model with --set model.roles=true "
            "--set loss.known_share=0.5, a VAE or a mixture"
        )
    return model


def how_given(model: object) -> str:
    """By what law a model knows some columns given others, in words after their names; empty where that is its own
    conditional."""
    words: str = getattr(model, "how_given", "")
    return words and f", {words}"


@runtime_checkable
class Resizable(Protocol):
    """A model of which data chose some sizes, so that configuration and schema do not say them."""

    def resize(self, weights: Mapping[str, Tensor]) -> None:
        """Make room for weights by name."""


class Law(Protocol):
    """The law of the cells of rows that are not known, given those that are. Each statistic is (n, D), of each cell by
    itself, in the units of the data; known cells are as they are."""

    def probabilities(self) -> tuple[Tensor, ...]:
        """Of each column of categories, (n, its values) each."""

    def log_prob_of(self, place: int, values: Tensor) -> Tensor:
        """log p of values (n, m) of the column `place`, known or not, each by itself: (n, m) nats."""

    def mean(self) -> Tensor: ...

    def deviation(self) -> Tensor:
        """The standard deviation of real cells."""

    def quantile(self, level: float | Tensor) -> Tensor:
        """level: one number, or (n,)."""

    def mode(self) -> Tensor: ...

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of all cells that are not known, together."""


@runtime_checkable
class Resampling(Protocol):
    """A law made of weighted draws."""

    @property
    def draws(self) -> int:
        """S of each row."""

    @property
    def drawn(self) -> str:
        """What the draws are, in words after their number."""

    @property
    def effective(self) -> Tensor:
        """How many even draws say as much, of each row: (n,), between 1 and S."""


@runtime_checkable
class Imputing(Protocol):
    """A model of rows that knows the law of some cells given the others."""

    def conditional(self, x: Tensor, known: Tensor, generator: torch.Generator) -> Law:
        """Of rows x (n, D), of which the cells that are `known` (n, D) are looked at; generator: of what is drawn
        where the law is not exact."""


class Draws(Protocol):
    """The law of what is not known of some examples, to draw from."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of all elements that are not known, together; known ones are as they are."""


@runtime_checkable
class Filling(Protocol):
    """A model that is told nothing of what is known, and finds what it says of the rest by weighing draws."""

    def unknown(self, x: Tensor, known: Tensor, generator: torch.Generator) -> Draws:
        """Of examples x (n, *shape), of which the elements that are `known` (n, *shape) are looked at."""


@runtime_checkable
class InUnits(Protocol):
    """A model of which some weights are in the units of the data, so that they may be of any size."""

    @property
    def in_units(self) -> frozenset[str]:
        """Their names."""


@runtime_checkable
class Classifying(Protocol):
    """A model of p(y | x)."""

    def classify(self, x: Tensor) -> Tensor:
        """log p(y | x): integers (batch, *shape) -> (batch, classes)."""


@runtime_checkable
class Denoising(Classifying, Protocol):
    """A classifier that learns by denoising its own layers, judged by one pass over data."""

    @property
    def why_not(self) -> str:
        """Why it has no likelihood."""

    @property
    def depth(self) -> int:
        """The number of layers with a cost, the input among them."""

    @property
    def labels_used(self) -> int:
        """How many labels training saw."""

    def costs(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, object]:
        """The denoising cost per unit and layer, input first, (layers,), and what else the pass gave."""


@runtime_checkable
class Cooled(Protocol):
    """A hierarchy whose rungs are drawn at temperatures."""

    def cooled(self, n: int, temperatures: tuple[float, ...], generator: torch.Generator) -> Tensor:
        """n examples (n, *shape), p of each rung with its deviation multiplied: one factor, or one per rung from 0."""


@runtime_checkable
class Stepped(Protocol):
    """A hierarchy whose rungs are the steps of a discretisation."""

    @property
    def steps(self) -> int:
        """T."""

    @property
    def evaluations(self) -> int:
        """Network evaluations of one descent to x."""

    def time(self, number: int) -> Tensor:
        """t of a rung, (1,); rung 0 is the finest."""

    def denoised(self, number: int, z: Tensor) -> Tensor:
        """E[x | z] in units of levels: z (batch, *shape) of a rung -> (batch, *shape) float64."""

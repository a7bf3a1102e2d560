"""How a diffusion model of rows fills gaps: descents that are told the known cells, or weighted ones that are not.

A method is a frozen dataclass called as `method(model, x, known, seed)`; those that people name are in `METHODS` under
their tags. What a row gets is a function of its known cells and the seed, whatever other rows there are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, cast

import torch
from torch import Tensor

from vlb.base.configuration import Family
from vlb.base.domains import BelowOne, Settings, Steps, Within
from vlb.base.errors import UserError
from vlb.core.columns import Columns
from vlb.core.condition import Condition, Role
from vlb.core.distributions import Held, Normal
from vlb.core.draws import RowDraws
from vlb.core.emissions import Particles, RowEmbedding, TableLaw
from vlb.core.hierarchy import Rung, descend, last_state
from vlb.models.diffusion.filter import Filter, Replacing, Twisting
from vlb.models.diffusion.kernels import MomentMatched
from vlb.models.diffusion.model import DiffusionModel

Few = Annotated[int, Within(1, 1 << 16)]
PIECE = 1 << 16  # descents that are made at once


@dataclass(frozen=True, eq=False)
class Descended(Particles):
    """The law of unknown cells by what the head says at the ends of descents. least: (n,), how many even ones there
    were at the least on the way down; drawn: what they are, in words."""

    least: Tensor
    drawn: str

    @property
    def draws(self) -> int:
        """S of each row."""
        return self.log_weights.shape[1]

    @property
    def effective(self) -> Tensor:
        """How many even descents say as much, (n,), at the least of all steps down."""
        return self.least


class Ends(NamedTuple):
    """p(x | z_0) of S descents of each row, those of a row after each other; log_weights: (n, S); least: (n,)."""

    law: TableLaw
    log_weights: Tensor
    least: Tensor


@dataclass(frozen=True, kw_only=True)
class Method(Settings, ABC):
    """particles: descents of each row; steps: of each."""

    particles: Few = 32
    steps: Steps = 50

    def __call__(self, model: DiffusionModel, x: Tensor, known: Tensor, seed: int) -> Descended:
        """p(cells that are not known | those that are) of rows x (n, D), known (n, D)."""
        emission = cast(RowEmbedding, model.embedding).emission
        self.check(model)
        told, size = condition_of(emission.columns, x, known), max(1, PIECE // self.descents)
        pieces = [slice(at, at + size) for at in range(0, len(x), size)] or [slice(0, 0)]
        found = [self.ends(model, told.take(piece), seed) for piece in pieces]
        law, log_weights = joined([end.law for end in found]), torch.cat([end.log_weights for end in found])
        least = torch.cat([end.least for end in found])
        return Descended(emission.maps, emission.columns, x, known, log_weights, law, least, self.drawn)

    @property
    def descents(self) -> int:
        """S of each row."""
        return self.particles

    @property
    @abstractmethod
    def drawn(self) -> str:
        """What the descents are, in words."""

    @abstractmethod
    def check(self, model: DiffusionModel) -> None:
        """Raises `UserError` for a model that it does not go with."""

    @abstractmethod
    def ends(self, model: DiffusionModel, told: Condition, seed: int) -> Ends:
        """The descents of rows of which the roles and values (n, D) are told."""


@dataclass(frozen=True, kw_only=True)
class Told(Method):
    """The model of that pattern of roles: descents whose network is told the known cells, all of equal weight. end: t
    at which the head is asked for p(x | z_t); the later, the fewer and wider its laws need to be for single cells, and
    the less of how cells go together is in draws."""

    end: BelowOne = 0.0

    @property
    def drawn(self) -> str:
        return "descents that are told the known cells"

    def check(self, model: DiffusionModel) -> None:
        if "role" not in model.takes:
            raise UserError(
                "this diffusion model is told no roles, so that its descents cannot be told the known cells: train "
                "with --set model.roles=true, or weigh descents that are told nothing, --method twisted"
            )

    @torch.no_grad()
    def ends(self, model: DiffusionModel, told: Condition, seed: int) -> Ends:
        assert told.values is not None
        times = torch.linspace(self.end, 1, self.steps + 1, dtype=torch.float64)
        own, grid = RowDraws(told.values, told, seed), model.at(times, MomentMatched())

        def choose(number: int, rung: Rung) -> Tensor:
            held = cast(Held, rung.p)
            law = cast(Normal, held.law)
            return torch.where(held.on, law.moved(own.normal(self.particles, law.mean.shape[1:])), held.at)

        start = grid.start(len(told.values) * self.particles, told.repeat(self.particles))
        state = last_state(descend(grid, start, choose))
        even = torch.zeros(len(told.values), self.particles, dtype=torch.float64)
        law = cast(TableLaw, model.predict(state.z, grid.time(0), state.condition).law)
        return Ends(law, even, even.new_full((len(even),), float(self.particles)))


@dataclass(frozen=True, kw_only=True)
class Weighed(Method, ABC):
    """The model of all cells together, whose network is told nothing: particles that are weighted by what is known
    (`vlb.models.diffusion.filter`)."""

    paths: Few = 1

    @property
    def descents(self) -> int:
        """Of all paths."""
        return self.paths * self.particles

    def check(self, model: DiffusionModel) -> None:
        """It goes with every diffusion model of rows."""

    def ends(self, model: DiffusionModel, told: Condition, seed: int) -> Ends:
        assert told.values is not None
        found = self.filter(model, told, RowDraws(told.values, told, seed)).run()
        return Ends(cast(TableLaw, found.law), found.log_weights, found.effective)

    @abstractmethod
    def filter(self, model: DiffusionModel, told: Condition, own: RowDraws) -> Filter:
        """Particles of rows of which the roles and values (n, D) are told."""


@dataclass(frozen=True, kw_only=True)
class Plain(Weighed):
    """`Replacing`: paths: draws of the noise on the known cells, with `particles` each."""

    particles: Few = 16
    paths: Few = 4

    @property
    def drawn(self) -> str:
        return f"weighted particles, on {self.paths} paths of the known cells,"

    def filter(self, model: DiffusionModel, told: Condition, own: RowDraws) -> Filter:
        return Replacing(model, told, self.steps, self.paths, self.particles, own)


@dataclass(frozen=True, kw_only=True)
class Twisted(Weighed):
    """`Twisting`."""

    @property
    def drawn(self) -> str:
        return "weighted particles of a twisted descent"

    def filter(self, model: DiffusionModel, told: Condition, own: RowDraws) -> Filter:
        return Twisting(model, told, self.steps, self.paths, self.particles, own)


METHODS = Family("method", {"conditional": Told, "smc": Plain, "twisted": Twisted})


def method_of(tag: str, particles: int | None, steps: int | None, where: str, more: int = 1) -> Method:
    """A method by its tag, with its own numbers where they are not given, of particles `more` times that. Raises
    `UserError`, naming `where`, for one that is not offered."""
    method: Method = METHODS.kind(tag, where)()
    given = {"particles": more * method.particles if particles is None else particles, "steps": steps}
    return replace(method, **{name: count for name, count in given.items() if count is not None})


def condition_of(columns: Columns, x: Tensor, known: Tensor) -> Condition:
    """What is told of rows x (n, D) of which some cells are `known`, all others to be drawn; but a real of which it is
    known that it is at an atom is no cell. Of a real that is known, it is known that it is at none."""
    values = torch.where(known, x.double(), 0.0)
    role = torch.where(known, Role.KNOWN, Role.MODELLED).to(torch.uint8)
    for which, real in columns.atoms:
        none = columns.counts[columns.categories.index(which)] - 1
        values[:, which] = torch.where(known[:, real] & ~known[:, which], float(none), values[:, which])
        at = known[:, which] & (values[:, which] < none)
        role[:, real] = torch.where(at, int(Role.ABSENT), role[:, real])
    return Condition(role=role, values=values)


def joined(laws: list[TableLaw]) -> TableLaw:
    """The laws of the rows of several pieces."""
    return replace(
        laws[0],
        log_weights=torch.cat([law.log_weights for law in laws]),
        means=torch.cat([law.means for law in laws]),
        variances=torch.cat([law.variances for law in laws]),
        logits=torch.cat([law.logits for law in laws]),
    )

"""Hierarchies of latent variables, and the only loops over their rungs.

A hierarchy is descended once, from the top latent to x (Eq. 2.27, 3.51). What a use of the model
changes is *who chooses* the latent at each rung: q for the bound, p for generation, a bit stream
for compression. `descend` takes that chooser; everything else is a fold over the steps. Choosing known parts of each
latent from q and the rest from p does not impute: it draws from no conditional law (of a Gaussian with correlation
0.9 it gives x₂ given x₁ = 1.5 the mean 0.93 and the variance 0.31 in 400 steps, where 1.35 and 0.19 are right).

Where inference is Markov from the data up (Eq. 2.15, 3.10), the model can also be climbed: each
z_i is chosen from q(z_i | below), and what lies below is scored by p(below | z_i).
"""

from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from vlb.core.distributions import Distribution

State = TypeVar("State")


class Rung(NamedTuple):
    """The conditionals of one rung given everything above: p always, q where x is known."""

    p: Distribution
    q: Distribution | None


class Step(NamedTuple, Generic[State]):
    """One rung of a descent: its number (0 is next to the data), conditionals, latent, state after it."""

    number: int
    p: Distribution
    q: Distribution | None
    z: Tensor
    state: State


class Hierarchy(Protocol[State]):
    """A generative hierarchy of L rungs, one per latent, numbered L−1 (top) to 0 (next to x).

    The state carries what p may depend on: all latents above, hidden features, the condition, and
    x where it is known.
    """

    @property
    def depth(self) -> int: ...

    def rung(self, number: int, state: State) -> Rung: ...

    def advance(self, number: int, state: State, z: Tensor) -> State: ...

    def likelihood(self, state: State) -> Distribution: ...


@runtime_checkable
class Climbable(Protocol):
    """A hierarchy whose inference is Markov from the data up.

    `up(0, x)` is q(z_0 | x) and `up(i, z)` is q(z_i | z_{i−1}); `down(0, z_0)` is p(x | z_0) and
    `down(i, z)` is p(z_{i−1} | z_i).
    """

    @property
    def depth(self) -> int: ...

    def up(self, number: int, below: Tensor) -> Distribution: ...

    def down(self, number: int, z: Tensor) -> Distribution: ...

    def top(self, z: Tensor) -> Distribution: ...


class ClimbStep(NamedTuple):
    """One rung of a climb: z chosen from q(z | below), and p(below | z), which scores what lies below."""

    number: int
    q: Distribution
    z: Tensor
    p: Distribution
    below: Tensor


Choose = Callable[[int, Rung], Tensor]


def descend(hierarchy: Hierarchy[State], state: State, choose: Choose) -> Iterator[Step[State]]:
    """Walk from the top latent to z_0, one `Step` per rung; `choose(number, rung)` picks each latent."""
    for number in reversed(range(hierarchy.depth)):
        rung = hierarchy.rung(number, state)
        z = choose(number, rung)
        state = hierarchy.advance(number, state, z)
        yield Step(number, rung.p, rung.q, z, state)


def climb(hierarchy: Climbable, x: Tensor, choose: Callable[[int, Distribution], Tensor]) -> Iterator[ClimbStep]:
    """Walk from x to the top latent, one `ClimbStep` per rung; `choose(number, q)` picks each latent."""
    below = x
    for number in range(hierarchy.depth):
        q = hierarchy.up(number, below)
        z = choose(number, q)
        yield ClimbStep(number, q, z, hierarchy.down(number, z), below)
        below = z


def from_prior(generator: torch.Generator) -> Choose:
    """Choose each latent from p: ancestral sampling (Eq. 3.100, 3.103)."""
    return lambda _, rung: rung.p.sample(generator)


def from_posterior(generator: torch.Generator) -> Choose:
    """Choose each latent from q: the bound (Eq. 2.34, 3.60)."""

    def choose(number: int, rung: Rung) -> Tensor:
        if rung.q is None:
            raise ValueError(f"rung {number} has no q: start the descent from data")
        return rung.q.sample(generator)

    return choose


def last_state(steps: Iterator[Step[State]]) -> State:
    """Run a descent to its end and keep only the final state."""
    state = None
    for step in steps:
        state = step.state
    if state is None:
        raise ValueError("a hierarchy needs at least one rung")
    return state

"""A VAE of any depth over the rows of a table with gaps: what its bound is of, and what it says of cells that are not
there.

Of a row x only the cells x_o that are modelled are looked at, by the encoder and by the likelihood, and

    log p(x_o) ≥ E_q(z | x_o) log p(x_o | z) − KL(q(z | x_o) ‖ p(z)),

for p(x_o | z) is the product over these cells alone: a cell that is absent integrates to one. Where some cells x_k are
known, the encoder's q(z | x_k) takes the place of the prior, which makes a conditional model (Ivanov et al. 2019) with

    log ∫ q(z | x_k) p(x_m | z) dz ≥ E_q(z | x_k, x_m) log p(x_m | z) − KL(q(z | x_k, x_m) ‖ q(z | x_k)).

It is p(x_m | x_k) where q(z | x_k) is the posterior, and another law elsewhere. In a hierarchy the same holds rung by
rung, each given the rungs above. Given no cell at all, q is the prior.
"""

import math

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.bound import descent_log_ratio
from vlb.core.condition import UNCONDITIONAL, Condition, Role, refuse_others
from vlb.core.distributions import Distribution, Either, Normal
from vlb.core.emissions import TableEmission, TableLaw
from vlb.core.hierarchy import Rung
from vlb.models.vae.model import FeatureState, TopDownVAE
from vlb.models.vae.reading import Partial
from vlb.models.vae.resampling import DRAWS, PIECE, Resampled, by_row


class TableVAE(TopDownVAE):
    """See the module; x is (n, D): reals in the units of the data, of all other kinds the numbers of values. A
    condition's role says what is modelled, known and absent; a cell that is absent holds any valid value."""

    takes = frozenset({"role", "values"})
    how_given = "by the conditional model that its encoder makes"

    @property
    def emission(self) -> TableEmission:
        """How rows meet the model."""
        likelihood = self.generator.likelihood
        if not isinstance(likelihood, TableEmission):
            raise TypeError(f"rows with gaps have a likelihood by column, not a {type(likelihood).__name__}")
        return likelihood

    def infer(self, x: Tensor, condition: Condition = UNCONDITIONAL) -> FeatureState:
        """A descent that knows the cells of x (n, D) that are not absent."""
        refuse_others(condition, self.takes, "this hierarchy")
        role, known = condition.role, None
        if role is not None and bool((role == Role.KNOWN).any()):
            known = self._evidence(x, role == Role.KNOWN)
        there = None if role is None else role != Role.ABSENT
        return FeatureState(self.generator.start(len(x)), self._evidence(x, there), condition, known)

    def _evidence(self, x: Tensor, there: Tensor | None) -> tuple[Tensor, ...]:
        read = Partial(self.emission)(x, there)
        return tuple(self.encoder(read.to(next(self.parameters()).dtype)))

    def rung(self, number: int, state: FeatureState) -> Rung:
        p, q = super().rung(number, state)
        role = state.condition.role
        if q is None or role is None:
            return Rung(p, q)
        q = either((role != Role.ABSENT).any(1), q, p)
        if state.known is None:
            return Rung(p, q)
        told = self.merges[number](state.known[number], p, state.features)
        return Rung(either((role == Role.KNOWN).any(1), told, p), q)

    @torch.no_grad()
    def conditional(self, x: Tensor, known: Tensor, generator: torch.Generator) -> Resampled:
        """The law of the cells of rows x (n, D) that are not `known` (n, D), given those that are, by draws of the
        latents."""
        seed = int(torch.randint(1 << 31, (), generator=generator))
        emission = self.emission
        return Resampled(emission.maps, emission.columns, x, known, self, DRAWS, seed, self._piece(DRAWS))

    @torch.no_grad()
    def weighed(self, x: Tensor, condition: Condition, draws: int, seed: int) -> tuple[Tensor, Tensor]:
        """See `resampling.Weighing`."""
        start = self.infer(x, condition).repeat(draws)
        ratio, state = descent_log_ratio(self, start, by_row(x, condition, draws, seed))
        weights = ratio + self.likelihood(state).log_prob(x.repeat_interleave(draws, 0))
        return weights.double().unflatten(0, (len(x), draws)), state.features

    def decoded(self, features: Tensor) -> TableLaw:
        """p(x | z)."""
        law = self.generator.decode(features)
        assert isinstance(law, TableLaw)
        return law

    @torch.no_grad()
    def importance_weighted(self, x: Tensor, condition: Condition, seed: int, draws: int = DRAWS) -> Tensor:
        """The importance-weighted bound below log p(modelled | known) by S = `draws` draws (Burda et al. 2016), (n,)
        nats: that of a row is a function of its cells and the seed, whatever other rows there are."""
        size = self._piece(draws)
        parts = [
            self.weighed(x[at : at + size], condition.take(slice(at, at + size)), draws, seed)[0].logsumexp(1)
            for at in range(0, len(x), size)
        ]
        return torch.cat(parts) - math.log(draws) if parts else torch.zeros(0, dtype=torch.float64)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """n rows (n, D) float64; `steps` is ignored. Known cells are the condition's `values`, all others are drawn
        given them, together, as `conditional` says."""
        refuse_others(condition, self.takes, "this hierarchy")
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        if condition.role is None or not bool((condition.role == Role.KNOWN).any()):
            return super().sample(n, generator=generator)
        if condition.values is None:
            raise UserError("some cells are said to be known and have no values: give the condition's values")
        return self.conditional(condition.values, condition.role == Role.KNOWN, generator).sample(generator)

    def _piece(self, draws: int) -> int:
        """Rows whose draws, decoded, fit in memory."""
        widest = max(math.prod(self.emission.out_shape), *(p.shape[0] for p in self.parameters()))
        return max(1, PIECE // (draws * widest))


def either(rows: Tensor, a: Distribution, b: Distribution) -> Distribution:
    """The law a in the rows (n,) that are True, b in the others."""
    if bool(rows.all()):
        return a
    if isinstance(a, Normal) and isinstance(b, Normal):
        own = rows.view(-1, *[1] * (a.mean.ndim - 1))
        return Normal(torch.where(own, a.mean, b.mean), torch.where(own, a.log_variance, b.log_variance))
    return Either(rows, a, b)

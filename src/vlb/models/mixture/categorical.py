"""Mixtures fitted to data: the simplest latent-variable model, whose sum over z can be done (Eq. 2.1 in one line).

`CategoricalMixture` is of discrete data, a product of categoricals per component: its log p is a mass,
exact, and comparable with every bound on the same data. `fit_gaussian_mixture` fits the Gaussian
mixture of real data, whose oracle is `vlb.models.mixture.gaussian`.
"""

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.core import marginals
from vlb.core.condition import UNCONDITIONAL, Condition, Role, refuse_others
from vlb.core.distributions import Categorical
from vlb.core.initial import Examples
from vlb.core.terms import EXACT, TermPath
from vlb.models.mixture.gaussian import GaussianMixture, gaussian_mixture
from vlb.models.mixture.law import MixtureLaw

PIECE = 1 << 23  # numbers in the largest tensor that a step of EM makes, beside those of one dimension: 32 MiB
ALIGNED = 64  # rows in a piece are a multiple, so that sums over dimensions are added up in the order of all rows


class CategoricalMixture(nn.Module):
    """Σ_j w_j Π_d p_jd(x_d), with categoricals p_jd over K levels.

    log_marginals: (D, K), the law towards which components are smoothed; `smoothing` counts as many observations
    of it per component. The components start as the marginals, disturbed; `fit_to` fits them by `em_steps` steps
    of EM. each: K by dimension, where they differ. Of a condition with roles everything is exact, too: an absent
    element sums to one.
    """

    bound = EXACT
    takes = frozenset({"role", "values"})

    def __init__(
        self,
        log_marginals: Tensor,
        components: int,
        shape: tuple[int, ...],
        smoothing: float = 1.0,
        em_steps: int = 0,
        each: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if components < 1:
            raise UserError(f"a mixture needs at least one component, not {components}")
        self.shape = tuple(shape)
        self.smoothing, self.em_steps = smoothing, em_steps
        self.levels, self.each = log_marginals.shape[1], each
        self.register_buffer("log_marginals", log_marginals.float())
        # How many examples the fit is of: they share the smoothing.
        self.register_buffer("examples", torch.ones((), dtype=torch.int64))
        self.log_weights = nn.Parameter(torch.zeros(components))
        disturbed = log_marginals.float() + 0.3 * torch.randn(components, *log_marginals.shape)
        self.logits = nn.Parameter(disturbed)

    def fit_to(self, data: Examples, generator: torch.Generator, progress: Progress) -> None:
        """Marginals of the data, towards which components are smoothed, then EM."""
        log_marginals = self.get_buffer("log_marginals")
        log_marginals.copy_(torch.from_numpy(marginals.log_marginals(data.x, self.levels, self.each)))
        self.logits.add_(log_marginals)
        if self.em_steps:
            self.em(torch.from_numpy(np.ascontiguousarray(data.x)), self.em_steps, progress)
        self.get_buffer("examples").fill_(len(data.x))

    def log_joint(self, x: Tensor, of: Tensor | None = None) -> Tensor:
        """log w_j p_j(x): integers (batch, *shape) -> (batch, J) nats; of: (batch, *shape) bool, the elements that are
        looked at, all by default."""
        log_p = self.logits.log_softmax(-1)
        chosen = log_p.gather(-1, x.long().flatten(1).T.expand(len(log_p), -1, -1))
        if of is not None:
            chosen = torch.where(of.flatten(1).T, chosen, 0.0)
        return self.log_weights.log_softmax(0) + chosen.sum(1).T

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), a mass: integers (batch, *shape) -> (batch,) nats."""
        return self.log_joint(x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(j | x), (batch, J): the posterior that other models must approximate."""
        return self.log_joint(x).softmax(1)

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """−log p(x), of roles −log p(modelled | known), (batch,) nats: nothing is drawn."""
        refuse_others(condition, self.takes, "this mixture")
        role = condition.role
        if role is None:
            return {("negative_log_likelihood",): -self.log_prob(x)}
        known, there = (self.log_joint(x, of).logsumexp(1) for of in (role == Role.KNOWN, role != Role.ABSENT))
        return {("negative_log_likelihood",): known - there}

    @torch.no_grad()
    def conditional(self, x: Tensor, known: Tensor, generator: torch.Generator) -> MixtureLaw:
        """The exact law of the elements of x (n, *shape) that are not `known` (n, *shape), given those that are."""
        valid = torch.where(known, x, 0)
        weights = self.log_joint(valid, known).log_softmax(1)
        each = self.each or (self.levels,) * self.logits.shape[1]
        return MixtureLaw(valid, known, weights, self.logits.log_softmax(-1), each)

    def marginals(self) -> Categorical:
        """The law of each element by itself, Σ_j w_j p_jd; logits (1, D, K)."""
        joint = self.log_weights.log_softmax(0).view(-1, 1, 1) + self.logits.log_softmax(-1)
        return Categorical(joint.logsumexp(0, keepdim=True))

    def penalty(self) -> Tensor:
        """−log of the smoothing prior on the components, nats: what EM and gradients minimise beside −log p."""
        return -self.smoothing * (self.get_buffer("log_marginals").exp() * self.logits.log_softmax(-1)).sum()

    @torch.no_grad()
    def em(self, x: Tensor, steps: int, progress: Progress = SILENT) -> Tensor:
        """Expectation–maximisation on integers (n, *shape): penalised −log p per example before each step, (steps,).

        It never rises (Dempster, Laird & Rubin 1977).
        """
        self.get_buffer("examples").fill_(len(x))
        x = x.flatten(1)
        prior = self.smoothing * self.get_buffer("log_marginals").exp()
        path = torch.empty(steps)
        rows = ALIGNED * max(1, PIECE // (ALIGNED * self.logits[..., 0].numel()))
        progress.begin("EM", steps)
        for step in range(steps):
            joint = torch.cat([self.log_joint(part) for part in x.split(rows)])
            path[step] = (self.penalty() - joint.logsumexp(1).sum()) / len(x)
            shares = joint.softmax(1)
            self.log_weights.copy_(shares.sum(0).clamp(min=1e-6).log())
            counts = self._counts(x, shares) + prior
            self.logits.copy_((counts / counts.sum(-1, keepdim=True)).log().clamp(min=marginals.IMPOSSIBLE))
            progress.at(step + 1)
        return path

    def _counts(self, x: Tensor, shares: Tensor) -> Tensor:
        """How often a component has each level, (J, D, K), by the shares (n, J) that it has in integers x (n, D): as
        many dimensions at once, of as many examples, as fit in memory one-hot."""
        rows = max(1, min(len(x), PIECE // self.levels))
        columns = max(1, PIECE // (rows * self.levels))
        counts = torch.zeros_like(self.logits)
        for part, own in zip(x.split(rows), shares.split(rows), strict=True):
            for at in range(0, x.shape[1], columns):
                levels = part[:, at : at + columns].long()
                onehot = own.new_zeros(*levels.shape, self.levels).scatter_(2, levels.unsqueeze(2), 1)
                found = own.T @ onehot.flatten(1)
                counts[:, at : at + columns] += found.view(len(counts), -1, self.levels)
        return counts

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """n draws, (n, *shape) int64; `steps` is ignored. Known elements are the condition's `values`, and the others
        are drawn given them."""
        refuse_others(condition, self.takes, "this mixture")
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        known = None if condition.role is None else condition.role == Role.KNOWN
        if known is not None and bool(known.any()):
            if condition.values is None:
                raise UserError("some elements are said to be known and have no values: give the condition's values")
            return self.conditional(condition.values.long(), known, generator).drawn(generator)
        component = Categorical(self.log_weights.expand(n, -1)).sample(generator)
        return Categorical(self.logits[component]).sample(generator).view(n, *self.shape)


def fit_gaussian_mixture(x: Tensor, components: int, seed: int = 0) -> GaussianMixture:
    """The Gaussian mixture of `components` full covariances fitted to reals x (n, D) by EM (scikit-learn's).

    Raises `UserError` for fewer examples than components.
    """
    from sklearn.mixture import GaussianMixture as Estimator  # a second of import that only this needs

    if not 1 <= components <= len(x):
        raise UserError(f"{components} components cannot be fitted to {len(x)} examples: between 1 and {len(x)} can")
    fitted = Estimator(components, random_state=seed, max_iter=500, tol=1e-6).fit(x.double().flatten(1).cpu().numpy())
    parts = (torch.from_numpy(part) for part in (fitted.weights_, fitted.means_, fitted.covariances_))
    return gaussian_mixture(*parts)

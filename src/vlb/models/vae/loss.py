"""Training by the bound of a hierarchy: free bits and KL warm-up against posterior collapse."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from vlb.base.domains import Settings, Share, Whole, Within
from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.core.terms import key
from vlb.models.loss import Sums, Terms
from vlb.models.vae.model import VariationalHierarchy

MOST = 0.6  # of the cells of a row that may be known in training, in expectation


@dataclass(frozen=True, kw_only=True)
class ElboLoss(Settings):
    """−VLB with its KLs weighted by min(1, step / warmup), each at least `free_nats`, per rung, in the batch mean.

    warmup: steps (Sønderby et al. 2016), 0 for none; free_nats: below it a rung's KL has no gradient (Kingma et
    al. 2016); given: of tables with gaps, the share of rows of which random cells are known, so that their bound is of
    the other cells given these, and q(z | some cells) is trained to take the place of the prior (Ivanov et al. 2019).
    """

    teaches_known: ClassVar = True  # whether a model that takes known elements is a law given them once trained

    warmup: Whole = 0
    free_nats: Annotated[float, Within(0, 1e6)] = 0.0
    given: Share = 0.0

    def build(self, model: VariationalHierarchy) -> "ElboTerms":
        """Ready to train a hierarchy. Raises `UserError` for known cells of a model that is not told any."""
        if self.given and "role" not in model.takes:
            raise UserError("loss.given is of models that know some cells given others, those of tables: leave it out")
        return ElboTerms(self.warmup, self.free_nats, self.given)


class ElboTerms(Terms[VariationalHierarchy]):
    """See `ElboLoss`; terms in nats per dimension. In evaluation the weight is 1."""

    def __init__(self, warmup: int = 0, free_nats: float = 0.0, given: float = 0.0) -> None:
        super().__init__()
        self.warmup, self.free_nats, self.given = warmup, free_nats, given
        if free_nats:
            self.why_whole = "loss.free_nats is of the mean over a whole batch"

    def forward(
        self, model: VariationalHierarchy, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        if model.training and self.given:
            condition = with_known(x, condition, self.given, generator)
        weight = min(1.0, (step + 1) / self.warmup) if model.training and self.warmup else 1.0
        terms = {path: term.mean() for path, term in model.terms(x, condition, generator).items()}
        for path in terms.keys() - {("reconstruction",)}:
            kl = terms[path].clamp(min=self.free_nats) if self.free_nats else terms[path]
            terms[path] = weight * kl
        return {key(path): term / math.prod(model.shape) for path, term in terms.items()}, {}


def with_known(x: Tensor, condition: Condition, share: float, generator: torch.Generator) -> Condition:
    """Of a share of the rows x (n, D), each of the modelled cells is known with a probability that is itself drawn for
    the row, up to `MOST`."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device).to(x.device)

    role = torch.zeros(x.shape, dtype=torch.uint8, device=x.device) if condition.role is None else condition.role
    chance = MOST * uniform(len(x), 1) * (uniform(len(x), 1) < share)
    known = (uniform(*x.shape) < chance) & (role == Role.MODELLED)
    return replace(condition, role=torch.where(known, int(Role.KNOWN), role).to(torch.uint8))

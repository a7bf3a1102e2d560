"""Roles in diffusion models: sums are over what is modelled, known elements are held, absent ones are nothing."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.oracles import SCALINGS, seeded
from tests.test_table_emission import KINDS, rows_of, schema_of
from vlb.base.errors import UserError
from vlb.core.bound import climb_log_weight
from vlb.core.condition import UNCONDITIONAL, Condition, Role
from vlb.core.hierarchy import climb, descend, from_prior
from vlb.core.initial import initialise
from vlb.core.schema import Real, Schema, levels_schema
from vlb.data.dataset import Split
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.denoiser import Posterior, Table
from vlb.models.diffusion.kernels import KERNELS, MomentMatched, Standard
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.placement import measure_costs
from vlb.models.diffusion.roles import modelled
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.schedules import LearnedPerDimension, LogSNRLinear
from vlb.models.diffusion.stratified import StratifiedBound, fit
from vlb.nn.mlp import MLP
from vlb.nn.unet import UNet

N = 12
TABLE, LEVELS, PICTURE = schema_of(KINDS), levels_schema((5,), 4), levels_schema((1, 6, 6), 4)


def rows(schema: Schema, n: int = N) -> np.ndarray:
    if schema is TABLE:
        return rows_of(KINDS, n, 1)
    return np.random.default_rng(1).integers(0, 4, (n, *schema.shape)).astype(np.uint8)


def built(schema: Schema, trained: bool = True, roles: bool = True, **fields: object) -> DiffusionModel:
    """As training begins, or with weights as after some of it."""
    picture = len(schema.shape) == 3
    backbone = UNet(widths=(8,), attention=(False,)) if picture else MLP(width=16, blocks=1, dropout=0.0)
    head = Table(components=2) if schema is TABLE else Posterior()
    chosen = {"schedule": LogSNRLinear(-6.0, 4.0), "backbone": backbone, "head": head, "roles": roles} | fields
    torch.manual_seed(0)
    model = Diffusion(**chosen).build(schema)  # type: ignore[arg-type]
    initialise(model, Split(rows(schema, 200)), seeded())
    if trained:
        for parameter in model.denoiser.backbone.parameters():  # type: ignore[attr-defined]
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=seeded(3))
    return model.eval()


def roles(schema: Schema, seed: int = 0, n: int = N) -> Tensor:
    return torch.randint(0, 3, (n, *schema.shape), generator=seeded(seed)).to(torch.uint8)


ALL = pytest.mark.parametrize("schema", [TABLE, LEVELS, PICTURE], ids=["table", "levels", "picture"])


def bounds(model: DiffusionModel, x: Tensor, condition: Condition) -> list[Tensor]:
    """Everything that is a bound of the model, by equal draws."""
    grid = model.at(4, MomentMatched())
    planned = StratifiedBound(model, fit(model, x, condition, seeded(), 4))
    costs = measure_costs(model, x, torch.linspace(0, 1, 3), Standard(), seeded(), condition)
    return [
        *model.terms(x, condition, seeded()).values(),
        *grid.terms(x, condition, seeded()).values(),
        *planned.terms(x, condition, seeded()).values(),
        grid.log_weight(x, condition, seeded()),
        climb_log_weight(model.at(4, MomentMatched(), condition), x, seeded()),
        costs.steps[0, 1:],
        costs.fine,
    ]


@ALL
@torch.no_grad()
def test_what_is_absent_may_hold_anything(schema: Schema) -> None:
    model, x, role = built(schema), torch.from_numpy(rows(schema)), roles(schema)
    other = torch.where(role == Role.ABSENT, torch.from_numpy(rows(schema)[::-1].copy()), x)
    assert not torch.equal(other, x)
    condition = Condition(role=role)
    for a, b in zip(bounds(model, x, condition), bounds(model, other, condition), strict=True):
        assert torch.equal(a, b)
    sampled = [
        model.sample(N, steps=3, generator=seeded(), condition=Condition(role=role, values=v)) for v in (x, other)
    ]
    assert torch.equal(*sampled)


@ALL
@torch.no_grad()
def test_what_is_known_is_held_where_its_values_are(schema: Schema) -> None:
    """Of a condition's values as of x itself; without any, nothing is guessed."""
    model, x, role = built(schema), torch.from_numpy(rows(schema)), roles(schema)
    here = modelled(model.embedding, Condition(role=role, values=x))
    there = modelled(model.embedding, Condition(role=role), model.embedding.embed(x))
    assert torch.equal(here.on, there.on) and torch.equal(here.at, there.at)
    known = model.embedding.wide(role) == Role.KNOWN
    assert torch.equal(here.at, torch.where(known, model.embedding.embed(x), 0.0).to(here.at.dtype))
    with pytest.raises(UserError, match="have no values"):
        modelled(model.embedding, Condition(role=role))
    absent = modelled(model.embedding, Condition(role=torch.where(role == Role.KNOWN, Role.ABSENT, role)))
    assert not absent.at.any()


@ALL
@torch.no_grad()
def test_what_is_known_matters_and_is_not_counted(schema: Schema) -> None:
    model, x = built(schema), torch.from_numpy(rows(schema))
    role = torch.where(roles(schema) == Role.ABSENT, Role.KNOWN, roles(schema)).to(torch.uint8)
    other = torch.where(role == Role.KNOWN, torch.from_numpy(rows(schema)[::-1].copy()), x)
    a, b = (sum(model.terms(each, Condition(role=role), seeded()).values()) for each in (x, other))
    assert not torch.equal(a, b)
    nothing = Condition(role=torch.full_like(role, Role.KNOWN))
    for values in bounds(model, x, nothing)[:-2]:
        assert float(values.abs().max()) < 1e-9


@ALL
@torch.no_grad()
def test_all_modelled_is_no_role(schema: Schema) -> None:
    model, x = built(schema), torch.from_numpy(rows(schema))
    every = Condition(role=torch.zeros(N, *schema.shape, dtype=torch.uint8))
    for a, b in zip(bounds(model, x, every), bounds(model, x, UNCONDITIONAL), strict=True):
        torch.testing.assert_close(a, b)


@ALL
@torch.no_grad()
def test_descents_and_climbs_hold_what_is_not_modelled(schema: Schema) -> None:
    model, x, role = built(schema), torch.from_numpy(rows(schema)), roles(schema)
    wide = model.embedding.wide(role)
    at = torch.where(wide == Role.KNOWN, model.embedding.embed(x).double(), 0.0)
    told = Condition(role=role, values=x)
    grid = model.at(4)
    steps = [step.z for step in descend(grid, grid.start(N, told), from_prior(seeded()))]
    steps += [step.z for step in climb(model.at(4, condition=told), x, lambda _, q: q.sample(seeded()))]
    for z in steps:
        assert torch.equal(z[wide != Role.MODELLED], at[wide != Role.MODELLED])
    drawn = model.sample(N, steps=3, generator=seeded(), condition=told)
    assert torch.equal(drawn[role == Role.KNOWN].double(), x[role == Role.KNOWN].double())
    walked = generate(model, DDIM(), N, torch.linspace(0, 1, 4), seeded(), told)
    assert walked.shape == x.shape


@pytest.mark.parametrize("scaling", SCALINGS)
@torch.no_grad()
def test_scalings_are_one_model_with_roles(scaling: str) -> None:
    model, x = built(TABLE), torch.from_numpy(rows(TABLE))
    condition = Condition(role=roles(TABLE))
    moved = model.under(SCALINGS[scaling])
    for a, b in zip(
        model.terms(x, condition, seeded()).values(), moved.terms(x, condition, seeded()).values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@ALL
def test_without_roles_a_model_has_the_weights_it_had(schema: Schema) -> None:
    plain, told = built(schema, False, roles=False), built(schema, False)
    assert "role" not in plain.takes and "role" in told.takes
    more = sum(p.numel() for p in told.parameters()) - sum(p.numel() for p in plain.parameters())
    assert more > 0


@pytest.mark.parametrize("gamma_0", [-8.0, -3.0, 1.0])
@pytest.mark.parametrize("kernel", ["continuous", "standard", "moment"])
@torch.no_grad()
def test_an_untrained_table_model_is_that_of_the_columns_by_themselves(gamma_0: float, kernel: str) -> None:
    """Wherever γ₀ is, reconstruction + diffusion + prior is log p of the modelled cells, but for what is left in z_1
    and what the Gaussian kernels of a grid lose. Of a rounded column it is a bound only: where the noise is finer than
    its cells, the head goes on as if they were not there. Within 6 standard errors over 4,000 draws: a false alarm in
    fewer than 1e-6 of seeds, in all cases."""
    model = built(TABLE, trained=False, schedule=LogSNRLinear(gamma_0, 6.0), head=Table(components=1))
    draws = 4000
    x = torch.from_numpy(rows(TABLE, 4)).repeat_interleave(draws, 0)
    role = roles(TABLE, n=4)
    role[:3, KINDS.index(Real(resolution=0.5))] = Role.ABSENT
    condition = Condition(role=role).repeat(draws)
    bound = model if kernel == "continuous" else model.at(torch.linspace(0, 1, 401), KERNELS.offered[kernel]())
    total = sum(bound.terms(x, condition, seeded()).values()).view(4, draws)
    silent = torch.zeros(len(x), *model.denoiser.head.out_shape)  # type: ignore[attr-defined]
    law = model.denoiser.head.law(silent)  # type: ignore[attr-defined]
    exact = -torch.where(condition.role == 0, law.log_probs(x), 0.0).sum(1).view(4, draws)[:, 0]
    # p(z_1) is a standard normal, where α₁² of the data's own law remains: e⁻⁶/2 · (number's square) at most.
    left = 0.5 * math.exp(-6.0) * model.embedding.embed(x).square().sum(1).view(4, draws)[:, 0] + 0.02
    error = total.std(1) / math.sqrt(draws)
    difference = total.mean(1) - exact
    assert bool((difference > -6 * error - 1e-6).all()), (difference, error)
    assert bool((difference < 6 * error + left)[:3].all()), (difference, error, left)


@torch.no_grad()
def test_schedules_per_column_are_tied_over_the_numbers_of_a_category() -> None:
    model = built(TABLE, schedule=LearnedPerDimension(-6.0, 4.0))
    schedule = model.process.schedule
    for parameter in schedule.parameters():  # type: ignore[attr-defined]
        parameter += 0.1 * torch.randn(parameter.shape, generator=seeded(5)).to(parameter)
    gamma = schedule.gamma(torch.tensor([0.3]))
    assert gamma.shape[1] == model.latent[0] > len(KINDS)
    of = model.embedding.emission.of_column  # type: ignore[attr-defined]
    for column in range(len(KINDS)):
        assert len(gamma[0, of == column].unique()) == 1
    assert len(gamma.unique()) == len(KINDS)
    t = schedule.inverse(torch.tensor([0.5], dtype=torch.float64))
    assert float(schedule.gamma(t).mean()) == pytest.approx(0.5)
    x, condition = torch.from_numpy(rows(TABLE)), Condition(role=roles(TABLE))
    assert all(bool(values.isfinite().all()) for values in bounds(model, x, condition))

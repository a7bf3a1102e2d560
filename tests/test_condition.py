"""What a model is told beside x: batches of it, who takes which part, and that the rest is refused before anything."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import vlb
from tests.models.test_fitted_mixture import EVERY, mixture
from tests.models.test_ladder import ladder
from tests.oracles import exact_model, plane_mixture, seeded
from tests.vae_models import ppca_vae, two_level_bottom_up
from vlb.base.errors import UserError
from vlb.core.condition import LABEL, NOTHING, PARTS, UNCONDITIONAL, Condition, Role, refuse_others
from vlb.core.emissions import CategoricalPosterior, Centres
from vlb.data import Split
from vlb.measure.tightness.perturbed import Perturbed
from vlb.models.diffusion.denoiser import PosteriorDenoiser
from vlb.models.diffusion.energy import EnergyDenoiser, energy_at
from vlb.models.diffusion.flow.bound import FlowBound
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.grids import UniformT
from vlb.models.diffusion.kernels import ExactMixture, Standard
from vlb.models.diffusion.loss import DiffusionTerms
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.placement import measure_costs
from vlb.models.diffusion.process import VE, VP, GaussianDiffusion
from vlb.models.diffusion.samplers.ancestral import Ancestral
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.models.diffusion.samplers.generate import decode, encode, generate
from vlb.models.diffusion.samplers.ode import ProbabilityFlow
from vlb.models.diffusion.samplers.transforms import Clipped, Guided, Snapped, transformed
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.stratified import Plan, StratifiedBound, fit
from vlb.models.diffusion.times import UniformTime
from vlb.models.diffusion.weightings import Likelihood
from vlb.models.ladder.loss import LadderTerms
from vlb.nn.mlp import MLPBackbone
from vlb.nn.unet import UNetBackbone
from vlb.training.loop import drop_labels

SHAPE = (3,)
LEVELS = Centres(5)
X = torch.tensor([[0, 1, 2], [4, 3, 0]])


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    """Any parts, of a batch of 1 to 5."""
    n, seed = draw(st.integers(1, 5)), draw(st.integers(0, 99))
    every = {
        "label": torch.randint(-1, 4, (n,), generator=seeded(seed)),
        "role": torch.randint(0, 3, (n, 2, 2), generator=seeded(seed), dtype=torch.uint8),
        "values": torch.randn(n, 2, 2, generator=seeded(seed)),
        "planes": torch.randn(n, 3, 2, 2, generator=seeded(seed)),
    }
    return Condition(**{name: every[name] for name in draw(st.sets(st.sampled_from(PARTS)))})


def given_parts(condition: Condition) -> dict[str, Tensor]:
    return {name: getattr(condition, name) for name in condition.parts}


def assert_each(found: Condition, condition: Condition, change: Callable[[Tensor], Tensor]) -> None:
    """Every part of `condition` is changed alike, and there are no others."""
    assert found.parts == condition.parts
    for name, part in given_parts(condition).items():
        assert torch.equal(getattr(found, name), change(part)) and getattr(found, name).dtype == part.dtype


@given(conditions(), st.slices(5), st.lists(st.integers(0, 0), max_size=4))
@settings(max_examples=60, deadline=None)
def test_take_indexes_every_part_alike(condition: Condition, part: slice, index: list[int]) -> None:
    step = abs(part.step or 1)  # tensors have no negative strides
    part = slice(part.start, part.stop, step)
    chosen = torch.tensor(index, dtype=torch.int64)
    assert_each(condition.take(part), condition, lambda p: p[part])
    assert_each(condition.take(chosen), condition, lambda p: p[chosen])
    for first in given_parts(condition).values():
        mask = torch.arange(len(first)) % 2 == 0
        assert_each(condition.take(mask), condition, lambda p, mask=mask: p[mask])


@given(conditions(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_repeat_gives_each_example_its_condition_n_times_in_a_row(condition: Condition, n: int) -> None:
    repeated = condition.repeat(n)
    assert_each(repeated, condition, lambda p: torch.stack([row for row in p for _ in range(n)]))
    assert_each(repeated.take(slice(0, None, n)), condition, lambda p: p)


@given(conditions())
@settings(max_examples=40, deadline=None)
def test_a_condition_moves_as_one_and_says_what_it_has(condition: Condition) -> None:
    assert_each(condition.to("cpu"), condition, lambda p: p)
    assert all(part.device.type == "meta" for part in given_parts(condition.to("meta")).values())
    assert condition.nothing == (not condition.parts) and condition.parts <= set(PARTS)


def test_unconditional_gives_nothing_however_it_is_cut() -> None:
    for none in (UNCONDITIONAL, UNCONDITIONAL.take(slice(2)), UNCONDITIONAL.repeat(3), UNCONDITIONAL.to("cpu")):
        assert none.nothing and none.parts == NOTHING
    with pytest.raises(dataclasses.FrozenInstanceError):
        UNCONDITIONAL.label = torch.zeros(1, dtype=torch.int64)  # type: ignore[misc]
    assert vlb.Condition is Condition


def test_roles_are_small_numbers() -> None:
    role = torch.full((2, 3), Role.KNOWN, dtype=torch.uint8)
    role[0, 0], role[1, 1] = Role.ABSENT, Role.MODELLED
    assert (Condition(role=role).role == Role.KNOWN).tolist() == [[False, True, True], [True, False, True]]
    assert [int(each) for each in Role] == [0, 1, 2]


@pytest.mark.parametrize(
    "parts, words",
    [
        ({"label": torch.zeros(2, dtype=torch.int64), "planes": torch.zeros(3, 1, 2)}, "one batch"),
        ({"values": torch.zeros(())}, "one batch"),
        ({"label": torch.zeros(2)}, "int64"),
        ({"label": torch.zeros(2, 1, dtype=torch.int64)}, "int64"),
        ({"role": torch.zeros(2, 3)}, "uint8"),
        ({"role": torch.zeros(2, 3, dtype=torch.uint8), "values": torch.zeros(2, 4)}, "both of x"),
    ],
)
def test_parts_that_do_not_fit_are_no_condition(parts: dict[str, Tensor], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Condition(**parts)


@given(conditions(), st.sets(st.sampled_from(PARTS)))
@settings(max_examples=60, deadline=None)
def test_what_is_not_taken_is_refused_with_what_mends_it(condition: Condition, takes: set[str]) -> None:
    if condition.parts <= takes:
        refuse_others(condition, frozenset(takes), "this model")
    else:
        with pytest.raises(UserError, match=r"^this model .*: leave out"):
            refuse_others(condition, frozenset(takes), "this model")


def test_every_part_is_refused_by_its_name() -> None:
    for part, words in (("role", "roles"), ("values", "values"), ("planes", "planes")):
        value = torch.zeros(1, 3, dtype=torch.uint8 if part == "role" else torch.float32)
        with pytest.raises(UserError, match=words):
            refuse_others(Condition(**{part: value}), LABEL, "this model")


LABELS = Condition(label=torch.tensor([0, 1]))
KNOWN = Condition(label=LABELS.label, role=torch.ones(2, 3, dtype=torch.uint8))


class Foreign(nn.Module):
    """A person's own backbone, which says nothing of conditions; its output is its label."""

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        shift = 0.0 if condition.label is None else condition.label.to(z.dtype).view(-1, 1, 1)
        return torch.zeros(*z.shape, LEVELS.count, dtype=z.dtype) + shift * torch.arange(LEVELS.count)


def diffusion(backbone: nn.Module) -> DiffusionModel:
    head = CategoricalPosterior(torch.zeros(3, LEVELS.count))
    denoiser = PosteriorDenoiser(backbone, head, VP())
    process = GaussianDiffusion(LogSNRLinear(-4.0, 4.0), VP())
    return DiffusionModel(process, denoiser, LEVELS, SHAPE).eval()


def network(classes: int) -> MLPBackbone:
    torch.manual_seed(0)
    backbone = MLPBackbone(SHAPE, (*SHAPE, LEVELS.count), classes, 8, 1, 0.0)
    nn.init.normal_(backbone.last.weight, std=0.3)
    return backbone


GRID = UniformT()(LogSNRLinear(-4.0, 4.0), 3)
Z = torch.zeros(2, 3, dtype=torch.float64)
T = torch.full((2,), 0.5, dtype=torch.float64)
ENTRIES: dict[str, Callable[[DiffusionModel, Condition], object]] = {
    "terms": lambda m, c: m.terms(X, c, seeded()),
    "term": lambda m, c: m.term(X, T, c, seeded()),
    "ends": lambda m, c: m.ends(X, c, seeded()),
    "predict": lambda m, c: m.predict(Z, T, c),
    "likelihood": lambda m, c: m.likelihood(Z, c),
    "sample": lambda m, c: m.sample(2, steps=2, generator=seeded(), condition=c),
    "at": lambda m, c: m.at(3, condition=c),
    "start": lambda m, c: m.at(3).start(2, c),
    "infer": lambda m, c: m.at(3).infer(X, c),
    "grid terms": lambda m, c: m.at(3).terms(X, c, seeded()),
    "grid term": lambda m, c: m.at(3, ExactMixture()).term(X, torch.tensor([1, 2]), c, seeded()),
    "log_weight": lambda m, c: m.at(3).log_weight(X, c, seeded()),
    "training": lambda m, c: DiffusionTerms(UniformTime(), Likelihood(), 0.5)(m, X, c, seeded(), 0),
    "stratified": lambda m, c: StratifiedBound(m, Plan.plain(2)).terms(X, c, seeded()),
    "fit": lambda m, c: fit(m, X, c, seeded()),
    "flow": lambda m, c: FlowBound(Flow(m)).terms(X, c, seeded()),
    "density": lambda m, c: Flow(m).log_prob(Z, c, seeded()),
    "costs": lambda m, c: measure_costs(m, X, GRID, Standard(), seeded(), c),
    "generate": lambda m, c: generate(m, DDIM(), 2, GRID, seeded(), c),
    "ancestral": lambda m, c: Ancestral()(m, Z, GRID, seeded(), c),
    "fixed steps": lambda m, c: DDIM()(m, Z, GRID, seeded(), c),
    "encode": lambda m, c: encode(m, ProbabilityFlow(), X, GRID, c),
    "decode": lambda m, c: decode(m, ProbabilityFlow(), Z, GRID, c),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_diffusion_model_takes_the_labels_of_its_network_and_no_more(name: str) -> None:
    with pytest.raises(UserError, match="this diffusion model is not conditioned on labels: leave out --condition"):
        ENTRIES[name](diffusion(network(0)), LABELS)
    with pytest.raises(UserError, match="this diffusion model models every element of x: leave out"):
        ENTRIES[name](diffusion(network(2)), KNOWN)
    for model, condition in ((diffusion(network(2)), LABELS), (diffusion(network(0)), UNCONDITIONAL)):
        ENTRIES[name](model, condition)


def test_nothing_is_drawn_for_what_is_refused() -> None:
    model, generator = diffusion(network(0)), seeded()
    before = generator.get_state()
    with pytest.raises(UserError):
        model.terms(X, LABELS, generator)
    assert torch.equal(generator.get_state(), before)


def test_what_a_denoiser_takes_is_what_its_backbone_says() -> None:
    scaling = VP()
    for classes, takes in ((0, NOTHING), (2, LABEL)):
        model = diffusion(network(classes))
        inner = model.denoiser
        wrapped = (Guided(inner, 2.0), Clipped(inner, scaling, -1.0, 1.0), Snapped(inner, scaling, LEVELS))
        assert {each.takes for each in (inner, *wrapped, Perturbed(inner, torch.zeros(3, 3), scaling))} == {takes}
        bounds = (model, model.under(VE()), model.at(3), StratifiedBound(model, Plan.plain()))
        assert {each.takes for each in (*bounds, FlowBound(Flow(model)))} == {takes}
        assert UNetBackbone((1, 8, 8), 2, classes, (8,), 1, (False,), (), 1, 0.0).takes == takes
    assert exact_model(plane_mixture(), LogSNRLinear(-4.0, 3.0)).takes == LABEL


def test_a_foreign_backbone_goes_on_taking_labels() -> None:
    model = diffusion(Foreign())
    assert model.takes == LABEL
    with_label, without = (model.predict(Z, T, c).x for c in (LABELS, UNCONDITIONAL))
    assert torch.equal(with_label[0], without[0]) and not torch.equal(with_label[1], without[1])
    with pytest.raises(UserError, match="roles"):
        model.terms(X, KNOWN, seeded())


def test_an_energy_takes_what_its_backbone_takes() -> None:
    gamma = torch.zeros(1, 1, dtype=torch.float64)
    denoiser = EnergyDenoiser(MLPBackbone(SHAPE, (*SHAPE, 1), 0, 8, 1, 0.0), VP())
    energy_at(denoiser, gamma)(Z.float())
    with pytest.raises(UserError, match="this energy is not conditioned"):
        energy_at(denoiser, gamma, LABELS)


@pytest.mark.parametrize(
    "use",
    [
        lambda c: ppca_vae().terms(torch.zeros(2, 4), c, seeded()),
        lambda c: ppca_vae().infer(torch.zeros(2, 4), c),
        lambda c: ppca_vae().start(2, c),
        lambda c: ppca_vae().sample(2, condition=c),
        lambda c: ppca_vae().log_weight(torch.zeros(2, 4), c, seeded()),
        lambda c: two_level_bottom_up().terms(torch.zeros(2, 3), c, seeded()),
        lambda c: two_level_bottom_up().log_weight(torch.zeros(2, 3), c, seeded()),
    ],
)
def test_hierarchies_refuse_labels(use: Callable[[Condition], object]) -> None:
    with pytest.raises(UserError, match="this hierarchy is not conditioned on labels: leave out --condition"):
        use(LABELS)


def test_mixtures_and_ladders_refuse_labels() -> None:
    for use in (lambda: mixture().terms(EVERY[:2], LABELS, seeded()), lambda: mixture().sample(2, condition=LABELS)):
        with pytest.raises(UserError, match="this mixture is not conditioned on labels: leave out --condition labels"):
            use()
    with pytest.raises(UserError, match="a ladder network is not conditioned on labels: leave out --condition labels"):
        LadderTerms()(ladder(), torch.zeros(2, 6), LABELS, seeded(), 0)
    assert mixture().takes == {"role", "values"} and ladder().takes == ppca_vae().takes == NOTHING


def test_guidance_needs_a_label_and_compares_it_with_none() -> None:
    model = diffusion(network(2))
    with pytest.raises(UserError, match="none was given"):
        transformed(model, Guided(model.denoiser, 2.0)).predict(Z, T)
    given_, free = model.predict(Z, T, LABELS), model.predict(Z, T)
    for scale, expected in ((1.0, given_.eps), (0.0, free.eps), (2.0, 2 * given_.eps - free.eps)):
        guided = transformed(model, Guided(model.denoiser, scale)).predict(Z, T, LABELS)
        torch.testing.assert_close(guided.eps, expected)
    assert not torch.equal(given_.eps, free.eps)
    none = Condition(label=torch.full((2,), -1))
    assert torch.equal(model.predict(Z, T, none).eps, free.eps)


def test_a_grid_has_a_condition_of_its_own_unless_another_is_given() -> None:
    model = diffusion(network(2))
    grid, other = model.at(3, condition=LABELS), Condition(label=torch.tensor([1, 1]))
    assert grid.start(2).condition is LABELS and grid.infer(X).condition is LABELS
    assert grid.start(2, other).condition is other and grid.infer(X, other).condition is other
    assert model.at(3).start(2).condition.nothing


def test_dropping_labels_leaves_the_rest_alone() -> None:
    assert drop_labels(UNCONDITIONAL, 0.5, 0, 0) is UNCONDITIONAL
    assert drop_labels(LABELS, 0.0, 0, 0) is LABELS
    dropped = drop_labels(KNOWN, 1.0, 0, 0)
    assert dropped.role is KNOWN.role and dropped.label is not None and dropped.label.tolist() == [-1, -1]


def test_a_batch_of_a_split_has_its_labels_where_they_are_asked_for() -> None:
    x, labels = np.arange(12, dtype=np.uint8).reshape(4, 3), np.array([3, 1, 2, 0])
    index = np.array([2, 0])
    batch, condition = Split(x, labels).batch(index, True, "cpu")
    assert batch.dtype == torch.uint8 and batch.tolist() == x[index].tolist()
    assert condition.label is not None and condition.label.tolist() == [2, 3] and condition.parts == LABEL
    for split, conditional in ((Split(x, labels), False), (Split(x), True)):
        assert split.batch(index, conditional, "cpu")[1].nothing

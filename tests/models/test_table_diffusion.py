"""Diffusion models of tables with gaps: random roles, filled gaps, and every verb from the command line's functions."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vlb
from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Real, Schema
from vlb.data.columns import Described
from vlb.data.dataset import Split
from vlb.models.diffusion.by_row import bound_by_row
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.denoiser import Table
from vlb.models.diffusion.methods import Method, Plain, Told, Twisted, condition_of, method_of
from vlb.models.diffusion.patterns import some_known
from vlb.models.diffusion.rows import TableDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.nn.mlp import MLP

TINY = ("steps=20", "validate_every=10", "width=16", "blocks=1", "batch=16", "training.warmup=2")


@given(st.integers(0, 1000), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_roles_change_from_modelled_to_known_alone(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(64, 5)
    role = torch.randint(0, 3, x.shape, generator=generator).to(torch.uint8)
    found = some_known(x, Condition(role=role), share, generator)
    changed = found != role
    assert bool((role[changed] == Role.MODELLED).all()) and bool((found[changed] == Role.KNOWN).all())
    if share == 0:
        assert not changed.any()


def test_a_share_of_the_rows_gets_known_cells() -> None:
    """Of 20,000 rows of 50 cells half get some, but for one in 51 whose uniform share happens to be of none: within 6
    standard errors, a false alarm in fewer than 1e-8 of seeds."""
    n = 20_000
    found = some_known(torch.zeros(n, 50), Condition(), 0.5, torch.Generator().manual_seed(0))
    share = float((found == Role.KNOWN).any(1).double().mean())
    assert abs(share - 0.5 * 50 / 51) < 6 * (0.25 / n) ** 0.5


def untrained(roles: bool = True) -> tuple[TableDiffusion, np.ndarray]:
    """A model of independent columns: two reals, one of them rounded, and a category."""
    columns = (Column("a", Real()), Column("b", Real(resolution=0.5)), Column("c", Categories(("x", "y", "z"))))
    schema = Schema(layout=Vector((3,)), kinds=columns, gaps=roles)
    rng = np.random.default_rng(0)
    x = np.stack(
        (rng.normal(3, 2, 500), np.rint(rng.normal(size=500) * 2) / 2, rng.choice(3, 500, p=(0.6, 0.3, 0.1))), 1
    )
    config = Diffusion(
        schedule=LogSNRLinear(-6.0, 6.0), backbone=MLP(width=8, blocks=1), head=Table(components=3), roles=roles
    )
    model = config.build(schema)
    vlb.core.initial.initialise(model, Split(x), torch.Generator())
    assert isinstance(model, TableDiffusion)
    return model.eval(), x


def test_gaps_by_independent_columns_are_their_own_laws() -> None:
    """Means over 400 rows of 32 descents each, within 6 standard errors of draws of the column itself, which are
    fewer than those: a false alarm in fewer than 1e-8 of seeds."""
    model, x = untrained()
    rows = torch.from_numpy(x[:400])
    known = torch.zeros(rows.shape, dtype=torch.bool)
    law = model.conditional(rows, known, torch.Generator().manual_seed(1))
    own = model.embedding.emission.law(torch.zeros(1, *model.embedding.emission.out_shape))  # type: ignore[attr-defined]
    p = own.log_tables.exp()[0].detach()
    error = 6 * (p * (1 - p) / len(rows)).sqrt()
    assert bool(((law.probabilities()[0].mean(0) - p).abs() < error).all())
    drawn = torch.cat([own.sample(torch.Generator().manual_seed(s)) for s in range(2000)]).detach()
    mean, deviation = drawn.mean(0)[:2], drawn.std(0)[:2]
    assert bool(((law.mean().mean(0)[:2] - mean).abs() < 6 * deviation * (1 / 400 + 1 / 2000) ** 0.5).all())
    known[:, 0] = True
    again = model.conditional(rows, known, torch.Generator().manual_seed(1))
    assert torch.equal(again.mean()[:, 0], rows[:, 0]) and torch.equal(
        again.sample(torch.Generator())[:, 0], rows[:, 0]
    )


def test_what_is_missing_may_hold_anything() -> None:
    model, x = untrained()
    rows, known = torch.from_numpy(x[:10]), torch.zeros(10, 3, dtype=torch.bool)
    known[:, 1] = True
    other = torch.where(known, rows, torch.ones_like(rows))
    means = [model.conditional(one, known, torch.Generator().manual_seed(0)).mean() for one in (rows, other)]
    assert torch.equal(*means)


def test_a_model_without_roles_says_what_to_do() -> None:
    model, x = untrained(roles=False)
    with pytest.raises(UserError, match="roles=true"):
        model.conditional(torch.from_numpy(x[:1]), torch.zeros(1, 3, dtype=torch.bool), torch.Generator())


def test_every_verb_works_or_says_why_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["a,b,c"]
    for a, b, c in zip(rng.normal(size=120), rng.integers(0, 40, 120), rng.choice(list("xyz"), 120), strict=True):
        cells = [f"{a:.6f}", f"{b / 10}", str(c)]
        lines.append(",".join("" if rng.random() < 0.2 else cell for cell in cells))
    table, run = tmp_path / "t.csv", tmp_path / "run"
    table.write_text("\n".join(lines) + "\n")
    options = vlb.TrainOptions(overrides=TINY)
    assert vlb.train("table-diffusion", options, out=run, data=table).finished
    quick = vlb.EvaluateOptions(passes=2)
    result = vlb.evaluate(run, options=quick)
    assert np.isfinite(result.bits_per_dim)
    assert "given a" in str(vlb.evaluate(run, options=vlb.EvaluateOptions(passes=2, given=("a",))).bound)
    assert all(
        np.isfinite(values).all()
        for values in vlb.score(run, table, vlb.ScoreOptions(passes=2, draws=2)).columns.values()
    )
    assert vlb.compare([run, "independent-pixels"], vlb.CompareOptions(passes=2)).first.subject.measure.startswith(
        "Lebesgue"
    )
    filled = vlb.impute(run, table, vlb.ImputeOptions(draws=1)).tables[0].decode().splitlines()
    for before, after in zip(lines, filled, strict=True):
        cells = list(zip(before.split(","), after.split(","), strict=True))
        assert all(new and (not old or old == new) for old, new in cells)
    few = tmp_path / "few.csv"
    few.write_text("\n".join(lines[:20]) + "\n")
    for method, said in (
        ("twisted", "particles of a twisted descent"),
        ("smc", "on 4 paths"),
        (None, "told the known"),
    ):
        chosen = vlb.ImputeOptions(method=method, particles=2, steps=3)
        assert said in vlb.impute(run, few, chosen).how
    for point, particles, count in (("mean", None, 32), ("median", None, 128), ("mode", None, 128), ("mode", 2, 2)):
        by = vlb.ImputeOptions(point=point, particles=particles, steps=2)  # type: ignore[arg-type]
        assert f"by {count} descents that are told" in vlb.impute(run, few, by).how
    vlb.sample(run, vlb.SampleOptions(n=3, steps=4))
    page = vlb.report(run).path.read_text("utf-8")
    assert all(heading in page for heading in ("The columns", "Every column by itself", "The rows least likely"))
    for refused in (
        lambda: vlb.compress(run, [table], tmp_path / "t.vlb"),
        lambda: vlb.evaluate(run, options=vlb.EvaluateOptions(likelihood="ode")),
    ):
        with pytest.raises(UserError, match=r"table|columns"):
            refused()


# Columns with atoms, of which a row at an atom has no other value.

PAY = Described("pay", Real(), atoms=(0.0, 5.0)).columns
PAID = Schema(layout=Vector((3,)), kinds=(Column("age", Real()), *PAY), gaps=True)


def paid(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `PAID`, half of them at an atom, and the cells that are there."""
    rng = np.random.default_rng(0)
    which = rng.choice(3, n, p=(0.3, 0.2, 0.5))
    x = np.stack((rng.normal(size=n), which, np.where(which == 2, rng.normal(10, 2, n), 0)), 1)
    observed = np.ones(x.shape, bool)
    observed[:, 2] = which == 2
    return x, observed


@cache
def of_pay() -> TableDiffusion:
    x, observed = paid()
    config = Diffusion(schedule=LogSNRLinear(-6.0, 6.0), backbone=MLP(width=8, blocks=1), head=Table(), roles=True)
    model = config.build(PAID)
    vlb.core.initial.initialise(model, Split(x, observed=observed), torch.Generator())
    assert isinstance(model, TableDiffusion)
    return model.eval()


@given(st.integers(0, 1000), st.integers(0, 2), st.booleans())
@settings(max_examples=20, deadline=None)
def test_roles_do_not_tell_which_rows_are_at_an_atom(seed: int, role: int, alone: bool) -> None:
    """What the network is told of a row at an atom is what it is told of one that is at none."""
    embedding = of_pay().embedding
    roles = torch.full((2, 3), role, dtype=torch.uint8)
    roles[:, 0] = seed % 3
    at = roles[:1].clone()
    at[:, 2] = Role.ABSENT
    assert torch.equal(embedding.roles(at), embedding.roles(roles[1:]))
    x = torch.tensor([[0.3, float(seed % 2), float(seed)]]).double()  # what the cell holds that is none
    assert float(embedding.embed(x)[0, 1]) == 0


def test_a_row_at_an_atom_is_told_as_such_and_unknown_ones_are_drawn_at_atoms() -> None:
    """Of 2,000 rows of which nothing is known, the shares of the atoms within five standard errors."""
    model = of_pay()
    x, known = torch.tensor([[0.3, 1.0, 7.0], [0.3, 2.0, 9.0], [0.3, 0.0, 9.0]]).double(), torch.ones(3, 3).bool()
    known[0, 2], known[2, 1] = False, False
    told = condition_of(model.embedding.emission.columns, x, known)  # type: ignore[attr-defined]
    assert told.role is not None and told.values is not None
    assert told.role[0].tolist() == [Role.KNOWN, Role.KNOWN, Role.ABSENT]
    assert told.role[2].tolist() == [Role.KNOWN, Role.MODELLED, Role.KNOWN] and float(told.values[2, 1]) == 2
    nothing = torch.zeros(2000, 3).bool()
    for method in (Told(particles=1, steps=12), Twisted(particles=2, steps=12)):
        rows = torch.arange(2000).double().unsqueeze(1) * torch.tensor([1.0, 0.0, 0.0])
        nothing[:, 0] = True  # so that rows draw otherwise
        drawn = model.by(method).conditional(rows, nothing, torch.Generator()).sample(torch.Generator().manual_seed(0))
        assert abs(float((drawn[:, 1] == 0).double().mean()) - 0.3) < 0.03 + 5 * (0.21 / 2000) ** 0.5


@pytest.mark.parametrize("method", [Plain(particles=4, paths=2, steps=12), Twisted(particles=8, steps=12)])
def test_weighted_descents_of_independent_columns_are_as_the_columns(method: Method) -> None:
    """Known cells say nothing of others: the law of a category, over 400 rows, within five standard errors of draws."""
    model, x = untrained(roles=False)
    rows = torch.from_numpy(x[:400])
    known = torch.zeros(rows.shape, dtype=torch.bool)
    known[:, :2] = True
    law = model.by(method).conditional(rows, known, torch.Generator().manual_seed(1))
    own = model.embedding.emission.law(torch.zeros(1, *model.embedding.emission.out_shape))  # type: ignore[attr-defined]
    p = own.log_tables.exp()[0].detach()
    found = law.probabilities()[0]
    assert bool(((found.mean(0) - p).abs() < 5 * found.std(0) / 400**0.5).all())
    assert bool((law.effective >= 1).all()) and bool((law.effective <= law.draws).all())
    backwards = model.by(method).conditional(rows.flip(0), known, torch.Generator().manual_seed(1))
    assert torch.allclose(law.mean(), backwards.mean().flip(0))


def test_the_bound_of_a_row_is_its_own_and_that_of_the_model() -> None:
    """Over 200 seeds, by few noise levels, and by the model's own terms: within five standard errors."""
    model, x = untrained()
    row, role = torch.from_numpy(x[:1]), torch.zeros(1, 3, dtype=torch.uint8)
    role[0, 1] = Role.ABSENT
    condition = Condition(role=role)
    own = torch.stack([bound_by_row(model, row, condition, seed, 4) for seed in range(200)])[:, 0]
    with torch.no_grad():
        terms = model.terms(row.expand(2000, -1), condition.repeat(2000), torch.Generator().manual_seed(0))
    other = -torch.stack(list(terms.values())).sum(0)
    error = (own.var() / len(own) + other.var() / len(other)).sqrt()
    assert abs(float(own.mean() - other.mean())) < 5 * float(error)
    many = torch.from_numpy(x[:7])
    assert bound_by_row(model, row[:0], Condition(role=role[:0]), 3, 4).shape == (0,)
    beside = bound_by_row(model, many, Condition(role=role.expand(7, -1)), 3, 4)
    assert torch.allclose(beside[:1], bound_by_row(model, row, condition, 3, 4), rtol=1e-4)


def test_methods_are_chosen_by_name() -> None:
    assert method_of("twisted", 7, None, "--method") == Twisted(particles=7)
    assert method_of("smc", None, 9, "--method") == Plain(steps=9)
    with pytest.raises(UserError, match="--method: 'twist' is not offered; did you mean 'twisted'"):
        method_of("twist", None, None, "--method")

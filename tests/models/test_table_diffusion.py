"""Diffusion models of tables with gaps: random roles, filled gaps, and every verb from the command line's functions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vlb
from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.core.schema import Categories, Column, Real, Schema, Vector
from vlb.data.dataset import Split
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.denoiser import Table
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
    result = vlb.evaluate(run)
    assert np.isfinite(result.bits_per_dim)
    assert "given a" in str(vlb.evaluate(run, options=vlb.EvaluateOptions(given=("a",))).bound)
    assert all(np.isfinite(values).all() for values in vlb.score(run, table).columns.values())
    assert vlb.compare([run, "independent-pixels"]).first.subject.measure.startswith("Lebesgue")
    filled = vlb.impute(run, table, vlb.ImputeOptions(draws=1)).tables[0].decode().splitlines()
    for before, after in zip(lines, filled, strict=True):
        cells = list(zip(before.split(","), after.split(","), strict=True))
        assert all(new and (not old or old == new) for old, new in cells)
    vlb.sample(run, vlb.SampleOptions(n=3, steps=4))
    assert vlb.report(run).path.exists()
    for refused in (
        lambda: vlb.compress(run, [table], tmp_path / "t.vlb"),
        lambda: vlb.evaluate(run, options=vlb.EvaluateOptions(likelihood="ode")),
    ):
        with pytest.raises(UserError, match="table"):
            refused()

"""Weights that are no numbers: what every verb, law and bound says of them, in place of an answer."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlb
from tests.commands.test_cli import TINY
from tests.commands.test_cli import vlb as command
from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.core.distributions import Categorical, NormalMixture
from vlb.core.emissions import Centres
from vlb.core.emissions.laws import Bernoulli, DiscretisedLogistic, DiscretisedMixture
from vlb.core.terms import BoundKind, TermPath
from vlb.data import Split
from vlb.generate.options import SampleOptions
from vlb.measure.evaluation import measure_bound
from vlb.measure.options import CompareOptions, EvaluateOptions, TightnessOptions
from vlb.store import checkpoint
from vlb.store.checkpoint import Checkpoint
from vlb.store.runs import Run

KINDS = {
    "diffusion": ("digits", *TINY),
    "vae": ("digits-vae", "--set", "steps=2", "--set", "validate_every=2"),
    "mixture": ("digits-mixture", "--set", "steps=2", "--set", "validate_every=2"),
    "ladder": ("digits-ladder", "--set", "steps=2", "--set", "validate_every=2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("broken")
    for name, (recipe, *settings) in KINDS.items():
        assert command("train", recipe, "--out", folder / name, *settings) == 0
    return {name: folder / name for name in KINDS}


def verbs(run: Path, out: Path) -> dict[str, Callable[[], Any]]:
    """All that read a model."""
    x = np.random.default_rng(0).integers(0, 17, (4, 1, 8, 8)).astype(np.uint8)
    np.save(out / "x.npy", x)
    few = EvaluateOptions(passes=2, examples=4)
    return {
        "evaluate": lambda: vlb.evaluate(run, options=few),
        "sample": lambda: vlb.sample(run, SampleOptions(n=2)),
        "score": lambda: vlb.score(run, out / "x.npy"),
        "compress": lambda: vlb.compress(run, [out / "x.npy"], out / "x.vlb"),
        "tightness": lambda: vlb.tightness(run, options=TightnessOptions(examples=2, steps=2, draws=2)),
        "compare": lambda: vlb.compare([run, "uniform"], options=CompareOptions(examples=4, passes=2)),
        "report": lambda: vlb.report(run),
    }


@pytest.fixture
def broken(runs: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Path]:
    """A run whose chosen checkpoint holds (kind, value) in one tensor where it is not finite, else in all."""
    kind, value = request.param
    run = Run.open(runs[kind])
    whole = run.chosen.read_bytes()
    stored = checkpoint.read(run.chosen)
    tensors = [t for n, t in stored.tensors.items() if n.startswith("average.model") and t.is_floating_point()]
    for tensor in tensors if math.isfinite(value) else tensors[:1]:
        tensor.fill_(value)
    checkpoint.save(run.chosen, Checkpoint(stored.tensors, stored.state))
    yield run.path
    run.chosen.write_bytes(whole)


@pytest.mark.parametrize("broken", [(kind, bad) for kind in KINDS for bad in (math.nan, math.inf)], indirect=True)
def test_every_verb_refuses_broken_weights(broken: Path, tmp_path: Path) -> None:
    for name, verb in verbs(broken, tmp_path).items():
        with pytest.raises(UserError, match=r"broken|ladder"):
            print(name, verb())
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize("broken", [(kind, 1e30) for kind in KINDS], indirect=True)
def test_finite_weights_that_give_no_numbers_end_in_a_message(broken: Path, tmp_path: Path) -> None:
    for verb in verbs(broken, tmp_path).values():
        with contextlib.suppress(UserError):
            verb()


@pytest.mark.parametrize(
    "law",
    [
        lambda bad: Categorical(bad.unsqueeze(-1).expand(2, 3, 4)),
        Bernoulli,
        lambda bad: DiscretisedLogistic(bad, torch.zeros(2, 3), Centres(4)),
        lambda bad: DiscretisedMixture(torch.zeros(2, 3, 1), bad.unsqueeze(-1), torch.ones(2, 3, 1), Centres(4)),
        lambda bad: NormalMixture(bad.unsqueeze(-1).expand(2, 3, 4), bad, torch.zeros(2, 3, 4), torch.zeros(1)),
    ],
)  # fmt: skip
def test_no_law_draws_levels_from_what_is_no_number(law: Any) -> None:
    bad = torch.zeros(2, 3)
    law(bad).sample(torch.Generator())
    bad[1, 2] = math.nan
    with pytest.raises(UserError, match="broken"):
        law(bad).sample(torch.Generator())


class Claims:
    """A bound whose draws are about a mean."""

    shape, bound = (2,), BoundKind("bound on")

    def __init__(self, mean: float) -> None:
        self.mean = mean

    def terms(self, x: torch.Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, torch.Tensor]:
        return {("one",): self.mean + 9 * torch.randn(len(x), generator=generator), ("two",): torch.zeros(len(x))}


def test_a_negative_bound_on_a_mass_is_refused_and_one_on_a_density_is_not() -> None:
    x = np.zeros((50, 2))
    assert measure_bound(Claims(-100.0), Split(x)).bits_per_dim < 0
    with pytest.raises(UserError, match="negative"):
        measure_bound(Claims(-100.0), Split(x.astype(np.uint8)))
    assert measure_bound(Claims(100.0), Split(x.astype(np.uint8))).bits_per_dim > 0

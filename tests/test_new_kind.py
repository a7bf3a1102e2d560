"""Rehearsals: a kind of model that vlb has never seen, and one made of two others, go through every verb by the
protocols and the registries alone.

What the first needs, had it a folder of its own: its model, configuration and loss there; a line each in `MODELS` and
`LOSSES` (models/kinds.py); a module for its code and a line in coding/settings.py; a module for its page in
pages/kinds. Four files beside its folder.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vlb
from vlb.base.configuration import Family
from vlb.base.progress import SILENT
from vlb.coding import settings as codes
from vlb.coding.bitsback import Exact
from vlb.coding.cells import Rows, TableCode
from vlb.coding.models import Measuring, chosen_settings, coded_by, marginals
from vlb.coding.products import ProductMixture, whole
from vlb.coding.sequence import USUAL_LANES, Lanes, SequenceCodec
from vlb.coding.stack import BitStack
from vlb.coding.wire import Reader, Writer
from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition, refuse_others
from vlb.core.distributions import Categorical
from vlb.core.marginals import log_marginals
from vlb.core.schema import Schema, levels_schema
from vlb.core.terms import EXACT, TermPath
from vlb.data import Dataset, Split
from vlb.measure.options import EvaluateOptions
from vlb.models.kinds import LOSSES, MODELS
from vlb.models.loss import Sums, Terms
from vlb.models.protocols import LikelihoodModel, offers
from vlb.pages import page
from vlb.pages.about import about, stated
from vlb.pages.content import Measured, content_of
from vlb.store.experiment import Experiment, Training
from vlb.store.runs import Run
from vlb.training.loop import fit

SHAPE, LEVELS = (6,), 4


class Columns(nn.Module):
    """Π_d p_d(x_d) over columns of K levels."""

    bound = EXACT
    takes = NOTHING

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.shape = shape
        self.logits = nn.Parameter(torch.zeros(math.prod(shape), levels))

    def initialise(self, data: Split, generator: torch.Generator) -> None:
        self.logits.copy_(torch.from_numpy(log_marginals(data.x, self.logits.shape[1])))

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        refuse_others(condition, self.takes, "this model")
        law = Categorical(self.logits.expand(len(x), -1, -1))
        return {("negative_log_likelihood",): -law.log_prob(x.flatten(1))}

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        generator = torch.Generator() if generator is None else generator
        return Categorical(self.logits.expand(n, -1, -1)).sample(generator).view(n, *self.shape)


class Halves(nn.Module):
    """A cascade: pairs of columns as coarse = ⌊(a + b)/2⌋ and detail = b − a (integer lifting), each by a model."""

    bound = EXACT
    takes = NOTHING

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.shape, self.levels = shape, levels
        half = math.prod(shape) // 2
        self.coarse, self.detail = Columns((half,), levels), Columns((half,), 2 * levels - 1)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.flatten(1).long().unflatten(1, (-1, 2)).unbind(-1)
        difference = b - a
        return a + torch.div(difference, 2, rounding_mode="floor"), difference + self.levels - 1

    def joined(self, coarse: Tensor, detail: Tensor) -> Tensor:
        difference = detail - (self.levels - 1)
        a = coarse - torch.div(difference, 2, rounding_mode="floor")
        pair = torch.stack((a, a + difference), -1).clamp(0, self.levels - 1)  # p gives some mass to no pair of columns
        return pair.flatten(1).view(len(coarse), *self.shape)

    def initialise(self, data: Split, generator: torch.Generator) -> None:
        coarse, detail = self.split(torch.from_numpy(data.x))
        self.coarse.initialise(Split(coarse.numpy()), generator)
        self.detail.initialise(Split(detail.numpy()), generator)

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        parts = zip(("coarse", "detail"), (self.coarse, self.detail), self.split(x), strict=True)
        return {
            (name, *path): term
            for name, model, part in parts
            for path, term in model.terms(part, condition, generator).items()
        }

    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        return self.joined(*(model.sample(n, generator=generator) for model in (self.coarse, self.detail)))


@dataclass(frozen=True, kw_only=True)
class ExactLoss:
    """−log p per dimension."""

    teaches_known = True

    def build(self, model: nn.Module) -> "ExactTerms":
        return ExactTerms()


class ExactTerms(Terms[nn.Module]):
    def forward(
        self, model: nn.Module, x: Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Sums]:
        terms = model.terms(x, condition, generator).values()
        return {"negative_log_likelihood": torch.stack(list(terms)).sum(0).mean() / math.prod(model.shape)}, {}


@dataclass(frozen=True, kw_only=True)
class Independent:
    trained_by: ClassVar = ExactLoss
    why_not: ClassVar = ""
    shares_noise: ClassVar = False
    takes: ClassVar = NOTHING
    smoothing: float = 1.0

    def build(self, schema: Schema) -> Columns:
        return Columns(schema.shape, schema.levels)


@dataclass(frozen=True, kw_only=True)
class Halved(Independent):
    def build(self, schema: Schema) -> Halves:
        return Halves(schema.shape, schema.levels)


@dataclass(frozen=True)
class ColumnsSettings:
    latent: ClassVar = False
    any_depth: ClassVar = False
    gaps: ClassVar = False
    usual: ClassVar = USUAL_LANES
    passes: ClassVar = 1
    lanes: Lanes = USUAL_LANES

    def write(self, writer: Writer) -> None:
        self.lanes.write(writer)

    @classmethod
    def read(cls, reader: Reader) -> "ColumnsSettings":
        return cls(Lanes.read(reader))

    def codec(self, model: nn.Module) -> SequenceCodec:
        return SequenceCodec(coder(model), marginals(model), model.shape, self.lanes)

    def bounded(self, model: nn.Module) -> nn.Module:
        return model

    def describe(self) -> dict[str, str]:
        return {"order": "column by column"}


class Both:
    """The code of a cascade: the codes of its parts, one after the other."""

    def __init__(self, model: Halves) -> None:
        self.model, self.coarse, self.detail = model, coder(model.coarse), coder(model.detail)

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        coarse, detail = self.model.split(torch.from_numpy(x.astype(np.int64)))
        self.detail.encode(stack, detail.numpy(), salt)
        self.coarse.encode(stack, coarse.numpy(), salt)

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        coarse, detail = self.coarse.decode(stack, count, salt), self.detail.decode(stack, count, salt)
        return self.model.joined(torch.from_numpy(coarse), torch.from_numpy(detail)).numpy()


def coder(model: nn.Module) -> Exact | Both:
    if isinstance(model, Halves):
        return Both(model)
    cells = whole(model.logits.detach().log_softmax(-1).cpu().numpy())
    return Exact(ProductMixture(whole(np.zeros(1)), list(cells[:, None])), model.shape)


@coded_by.register(Columns)
@coded_by.register(Halves)
def _(model: nn.Module) -> type[ColumnsSettings]:
    return ColumnsSettings


@chosen_settings.register(Columns)
@chosen_settings.register(Halves)
def _(model: nn.Module, by: Measuring, steps: int, lanes: Lanes) -> ColumnsSettings:
    return ColumnsSettings(lanes)


@marginals.register
def _(model: Columns) -> Rows:
    return TableCode(model.logits.detach().softmax(-1).cpu().numpy().astype(np.float64))


@marginals.register
def _(model: Halves) -> Rows:
    return TableCode(np.ones((math.prod(model.shape), model.levels)))


@dataclass(frozen=True)
class ColumnsContent:
    measured: Measured

    @property
    def found(self):
        return self.measured.result

    def page(self) -> str:
        known = self.measured.about
        return page.page(f"{known.name}: independent columns", (page.configuration(known), page.reproduction(known)))


@content_of.register(Columns)
@content_of.register(Halves)
def _(model: nn.Module, run: Run, data: Dataset, device, progress) -> ColumnsContent:
    return ColumnsContent(Measured(about(run, model, data), stated(model, run, data, device, progress), None))


def one_more(family: Family, tag: str, kind: type, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(family, "offered", {**family.offered, tag: kind})
    patch.setattr(family, "_tags", {**family._tags, kind: tag})


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The lines that the registries of kinds, losses and codes would have."""
    one_more(MODELS, "independent", Independent, monkeypatch)
    one_more(MODELS, "halves", Halved, monkeypatch)
    one_more(LOSSES, "exact", ExactLoss, monkeypatch)
    monkeypatch.setattr(codes, "KINDS", (*codes.KINDS, ColumnsSettings))
    yield


def table() -> Dataset:
    """Pairs of columns that go together."""
    generator = np.random.default_rng(0)
    first = generator.integers(0, LEVELS, (500, SHAPE[0] // 2))
    second = np.clip(first + generator.integers(-1, 2, first.shape), 0, LEVELS - 1)
    x = np.stack((first, second), -1).reshape(500, *SHAPE).astype(np.uint8)
    return Dataset("pairs", levels_schema(SHAPE, LEVELS), Split(x[:300]), Split(x[300:400]), Split(x[400:]))


@pytest.mark.parametrize("kind", [Independent, Halved])
def test_a_kind_goes_through_every_verb(kind, registered: None, tmp_path: Path) -> None:
    data = table()
    settings = Training(steps=20, batch=32, warmup=1, validate_every=10, checkpoint_every=10, learning_rate=1e-3)
    experiment = Experiment(recipe="digits", model=kind(), loss=ExactLoss(), training=settings)
    run = Run.create(tmp_path / "run", experiment, data)
    assert fit(experiment, data, run)

    run = Run.open(run.path)
    model = run.model()
    assert offers(model, LikelihoodModel)
    assert vlb.sample(run).x.shape == (64, *SHAPE)

    result = vlb.evaluate(model, "test", EvaluateOptions(passes=2), apart=data)
    assert result.exact and result.se_monte_carlo == 0
    names = {path[0] for path in result.terms}
    assert names == ({"coarse", "detail"} if kind is Halved else {"negative_log_likelihood"})
    if kind is Halved:
        assert result.bits_per_dim < result.baselines["independent_pixels"] - 0.2  # it knows that pairs go together
    else:
        assert result.bits_per_dim == pytest.approx(result.baselines["independent_pixels"], abs=0.01)

    np.save(tmp_path / "x.npy", data.test.x)
    vlb.compress(run, [tmp_path / "x.npy"], tmp_path / "x.vlb")
    vlb.decompress(tmp_path / "x.vlb", tmp_path / "out", run=run.path)
    assert (tmp_path / "out/x.npy").read_bytes() == (tmp_path / "x.npy").read_bytes()
    bits = 8 * (tmp_path / "x.vlb").stat().st_size / data.test.x.size
    assert bits < result.bits_per_dim + 8 * 200 / data.test.x.size  # the frame takes less than 200 bytes

    content = content_of(model, run, data, "cpu", SILENT)
    assert "independent columns" in content.page()
    assert content.found.bits_per_dim == result.bits_per_dim


def test_the_masses_of_a_cascade_sum_to_at_most_one() -> None:
    """They multiply, for the map is a bijection of pairs of whole numbers onto some of (coarse, detail)."""
    model = Halves((2,), 3)
    with torch.no_grad():
        for part in (model.coarse, model.detail):
            part.logits.normal_(generator=torch.Generator().manual_seed(0))
        pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
        coarse, detail = model.split(pairs)
        assert torch.equal(model.joined(coarse, detail), pairs)
        assert len({(int(a), int(b)) for a, b in zip(coarse, detail, strict=True)}) == 9
        total = (
            torch.stack(list(model.terms(pairs, UNCONDITIONAL, torch.Generator()).values())).sum(0).neg().exp().sum()
        )
    assert 0 < float(total) <= 1

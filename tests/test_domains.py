"""Every setting has a domain: what lies outside is refused, by name, and what lies at its inside edge works."""

import dataclasses
import importlib
import json
import math
import pkgutil
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vlb
from vlb.base.configuration import Family, decode, encode, override
from vlb.base.domains import Settings, Within, domain, hints
from vlb.base.errors import UserError
from vlb.core.layouts import Image, Layout, Points, VaryingPoints, Vector, Volume, Wave
from vlb.core.schema import Categories, Column, Levels, Pieces, Real, Schema, levels_schema
from vlb.data import Dataset, Split
from vlb.data.columns import Described
from vlb.models.diffusion.grids import Quantiles
from vlb.models.diffusion.times import DensityTime, UniformRung
from vlb.models.diffusion.weightings import FromFunction, Implied
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

# Of classes whose fields do not all have defaults.
MADE: dict[type, dict[str, Any]] = {
    Layout: {"shape": ()}, Vector: {"shape": (3,)}, Image: {"shape": (1, 2, 2)}, Wave: {"shape": (1, 4)},
    Volume: {"shape": (1, 2, 2, 2)}, Points: {"shape": (4, 3)},
    VaryingPoints: {"shape": (4, 3), "numbers": (2, 4), "clouds": (1, 1)},
    Levels: {"count": 4}, Categories: {"values": ("a",)},
    Column: {"name": "a", "kind": Levels(2)}, Pieces: {"tile": (2,)}, Experiment: {"recipe": "digits"},
    Described: {"name": "a", "kind": Real()},
    Schema: {"layout": Vector((3,)), "kinds": Levels(4)}, UniformRung: {"steps": 4},
    DensityTime: {"density": abs}, Quantiles: {"density": abs}, FromFunction: {"function": abs},
    Implied: {"schedule": None, "factor": abs},
}  # fmt: skip


class Number(NamedTuple):
    """A number in a field: whose, its annotation, and whether the field is a list of such."""

    owner: type
    field: str
    kind: Any
    listed: bool

    def __str__(self) -> str:
        return f"{self.owner.__module__.rpartition('.')[2]}.{self.owner.__name__}.{self.field}"

    @property
    def whole(self) -> bool:
        return get_args(self.kind)[0] is int

    @property
    def within(self) -> Within:
        found = domain(self.kind)
        assert found is not None
        return found

    def given(self, value: Any) -> dict[str, Any]:
        """The owner's fields with the number in its place."""
        return {**MADE.get(self.owner, {}), self.field: (value,) if self.listed else value}


def numbers_in(kind: Any, listed: bool = False) -> Iterator[tuple[Any, bool]]:
    """The numbers that an annotation is made of, and whether they are listed."""
    if get_origin(kind) is Annotated and get_args(kind)[0] not in (int, float):
        yield from numbers_in(get_args(kind)[0], listed)
    elif get_origin(kind) in (Union, types.UnionType, tuple):
        for part in get_args(kind):
            yield from numbers_in(part, listed or get_origin(kind) is tuple)
    elif kind in (int, float) or get_origin(kind) is Annotated:
        yield kind, listed


@cache
def modules() -> tuple[types.ModuleType, ...]:
    names = [found.name for found in pkgutil.walk_packages(vlb.__path__, "vlb.") if not found.name.endswith("__main__")]
    return tuple(map(importlib.import_module, names))


@cache
def classes() -> tuple[type, ...]:
    """All settings of the package: those that derive from `Settings`, what a family offers, options, and what these are
    made of."""
    held = [value for module in modules() for value in vars(module).values()]
    found = [offered for family in held if isinstance(family, Family) for offered in family.offered.values()]
    found += [kind for kind in held if isinstance(kind, type) and (
        issubclass(kind, Settings) or kind.__module__.endswith(".options"))]  # fmt: skip
    reached: dict[type, None] = {}
    while found:
        kind = found.pop()
        if dataclasses.is_dataclass(kind) and kind not in reached and kind.__module__.startswith("vlb."):
            reached[kind] = None
            found += [part for annotation in hints(kind).values() for part in parts(annotation)]
    return tuple(sorted(reached, key=lambda kind: (kind.__module__, kind.__name__)))


def parts(kind: Any) -> Iterator[type]:
    if isinstance(kind, type):
        yield kind
    for part in get_args(kind):
        if get_origin(kind) is not Literal:
            yield from parts(part)


NUMBERS = [
    Number(owner, field, kind, listed)
    for owner in classes()
    for field, annotation in hints(owner).items()
    for kind, listed in numbers_in(annotation)
]
BY_OWNER = {owner: [number for number in NUMBERS if number.owner is owner] for owner in classes()}
OWNERS = [owner for owner in classes() if BY_OWNER[owner] and not getattr(owner, "__abstractmethods__", None)]


def test_there_are_settings_of_all_kinds() -> None:
    named = {str(number) for number in NUMBERS}
    assert {"training.Training.betas", "schema.Levels.count", "options.EvaluateOptions.precision"} <= named
    assert {"unet.UNet.octaves", "named.EDM.std", "experiment.Experiment.unconditional_share"} <= named
    assert len(named) > 100


@pytest.mark.parametrize("owner", classes(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_number_declares_a_domain_and_every_class_checks_it(owner: type) -> None:
    if not dataclasses.fields(owner):  # type: ignore[arg-type]
        return
    assert issubclass(owner, Settings), f"{owner.__name__} derives from Settings, whose constructor checks its fields"
    for number in BY_OWNER[owner]:
        within = domain(number.kind)
        assert within is not None, f"{number} is a number without a domain"
        assert not number.whole or math.isfinite(within.low + within.high), f"{number} has no end"


def outside(number: Number) -> st.SearchStrategy[Any]:
    """What is none of a number's values: beyond its ends, no number at all, or of another type."""
    within = number.within
    others: list[st.SearchStrategy[Any]] = [
        st.sampled_from([math.nan, math.inf, -math.inf, True, "1", b"1", {}, [[]]]),
        st.complex_numbers(min_magnitude=1),
    ]
    if number.whole:
        others += [st.integers(max_value=int(within.low) - 1), st.integers(min_value=int(within.high) + 1)]
        others += [st.floats(allow_nan=False, allow_infinity=False)]
        return st.one_of(others)
    if within.low > -math.inf:
        others += [st.floats(max_value=within.low, exclude_max=not within.above, allow_infinity=False)]
        others += [st.integers(max_value=math.ceil(within.low) - 1)]
    if within.high < math.inf:
        others += [st.floats(min_value=within.high, exclude_min=not within.below, allow_infinity=False)]
        others += [st.integers(min_value=math.floor(within.high) + 1)]
    others += [st.integers(min_value=2**1024), st.integers(max_value=-(2**1024))]
    return st.one_of(others)


@pytest.mark.parametrize("owner", OWNERS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@settings(derandomize=True, deadline=None, max_examples=25, database=None)
@given(data=st.data())
def test_what_lies_outside_is_refused_with_name_and_range(owner: Any, data: st.DataObject) -> None:
    """By the constructor and by what reads JSON, the same for every number of a class."""
    for number in BY_OWNER[owner]:
        value = data.draw(outside(number))
        called, range_ = owner.called(number.field), number.within.words(number.whole)
        with pytest.raises(UserError) as refused:
            owner(**number.given(value))
        assert called in str(refused.value) and f"expected {range_}, not " in str(refused.value)
        try:
            known = encode(owner(**MADE.get(owner, {})))
            content = json.loads(json.dumps({**known, **number.given(value)}))
        except (TypeError, UserError):  # no JSON value, or of a class that only Python makes
            continue
        with pytest.raises(UserError) as refused:
            decode(owner, content, "file")
        assert f"file.{number.field}" in str(refused.value) and f"expected {range_}, not " in str(refused.value)


def edges(number: Number) -> list[Any]:
    """The first and last values of a number, and one that is NumPy's."""
    within = number.within
    low = max(within.low, -sys.float_info.max)
    high = min(within.high, sys.float_info.max)
    low = math.nextafter(low, math.inf) if within.above else low
    high = math.nextafter(high, -math.inf) if within.below else high
    if number.whole:
        return [int(within.low), int(within.high), np.int64(within.low)]
    return [low, high, np.float64(low), *(int(end) for end in (low, high) if end == int(end))]


@pytest.mark.parametrize("number", [n for n in NUMBERS if n.owner in OWNERS], ids=str)
def test_the_inside_edge_is_accepted(number: Number) -> None:
    """Unless another field forbids it, which says so in other words."""
    for value in edges(number):
        try:
            made = number.owner(**number.given(value))
        except UserError as error:
            assert "expected" not in str(error)
            continue
        kept = getattr(made, number.field)
        kept = kept[0] if number.listed else kept
        assert kept == value and type(kept) is (int if number.whole else float)


def test_what_is_no_number_is_checked_too() -> None:
    experiment = recipe("digits")
    for change, message in (
        ({"precision": "float8"}, "precision: 'float8' is not offered"),
        ({"betas": 0.9}, "betas: expected a list"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\]: expected a number of at least 0 and below 1, not 1.0"),
        ({"steps": np.float64(2.0)}, "steps: expected a whole number"),
        ({"steps": 10**5000}, "not one of 16610 bits"),
    ):
        with pytest.raises(UserError, match=message):
            dataclasses.replace(experiment.training, **change)
    with pytest.raises(UserError, match="clip: expected true or false"):
        vlb.SampleOptions(clip=1)  # type: ignore[arg-type]


def tiny() -> Dataset:
    x = np.random.default_rng(0).integers(0, 4, (12, 1, 2, 2)).astype(np.uint8)
    labels = np.arange(12) % 2
    some = slice(0, 8), slice(8, 10), slice(10, 12)
    return Dataset("tiny", levels_schema((1, 2, 2), 4, 2), *(Split(x[part], labels[part]) for part in some))


SMALL = (
    "steps=3",
    "batch=4",
    "backbone.width=4",
    "backbone.blocks=1",
    "gamma_0=-6",
    "validate_every=2",
    "warmup=1",
    "times=uniform",
)
WORKS = [
    "training.steps=1", "batch=1", "final_learning_rate=0", "warmup=0", "warmup=1000000000",
    "weight_decay=0", "weight_decay=100", "betas=[0, 0]", "clip=1e-300", "clip=1e308", "spike=1.0000000000000002",
    "ema=0", "validate_every=0", "validate_every=1000000000", "validation_examples=1", "checkpoint_every=1",
    "log_every=1", "decoder_share=0", "decoder_share=1", "unconditional_share=0", "unconditional_share=1",
    "backbone.width=1", "backbone.blocks=0", "dropout=0", "gamma_0=-25", "gamma_1=50", "seed=9223372036854775807",
    'head={"type": "mixture", "components": 1}', 'times={"type": "adaptive", "bins": 1, "uniform_share": 1}',
    'times={"type": "adaptive", "decay": 0, "uniform_share": 1e-9}', 'weighting={"type": "uncertainty", "terms": 1}',
    'schedule={"type": "learned", "units": 1}', 'schedule={"type": "sigmoid", "temperature": 0.1}',
    'schedule={"type": "cosine", "shift": 30}', 'schedule={"type": "edm", "std": 100}',
]  # fmt: skip


@pytest.mark.parametrize("assignment", WORKS)
def test_the_inside_edge_trains(assignment: str, tmp_path: Path) -> None:
    experiment = override(recipe("digits"), "model.backbone=mlp")
    for change in (*SMALL, "model.condition=labels", assignment):
        experiment = override(experiment, change)
    run = Run.create(tmp_path / "run", experiment, tiny())
    assert fit(experiment, tiny(), run)
    measured = [json.loads(line).get("validation") for line in run.metrics.read_text().splitlines()]
    bounds = [found["bits_per_dim"] for found in measured if found]
    assert all(map(math.isfinite, bounds)) and (bounds or "validate_every=0" in assignment)
    assert Run.open(run.path).experiment == experiment


def test_nothing_is_written_of_what_is_refused(tmp_path: Path) -> None:
    from vlb.interfaces.cli import main

    for assignment in ("dropout=2", "warmup=-1", "validation_examples=0", "gamma_1=1e6", "unconditional_share=2.5"):
        with pytest.raises(SystemExit) as ended:
            main(["train", "digits", "--out", str(tmp_path / "run"), "--set", assignment])
        assert ended.value.code == 2 and not any(tmp_path.iterdir())


def test_the_inside_edge_samples(tmp_path: Path) -> None:
    experiment = override(recipe("digits"), "model.backbone=mlp")
    for change in (*SMALL, "model.condition=labels"):
        experiment = override(experiment, change)
    run = Run.create(tmp_path / "run", experiment, tiny())
    assert fit(experiment, tiny(), run)
    for options in (
        *(vlb.SampleOptions(n=2, steps=3, label="1", guidance=guidance) for guidance in (-100, 0, 100)),
        vlb.SampleOptions(n=1, steps=1, seed=2**63 - 1),
    ):
        assert (vlb.sample(run, options).x < 4).all()


def test_what_needs_no_label_is_refused_of_a_model_that_always_had_one(tmp_path: Path) -> None:
    experiment = override(recipe("digits"), "model.backbone=mlp")
    for change in (*SMALL, "model.condition=labels", "unconditional_share=0", "validate_every=0"):
        experiment = override(experiment, change)
    run = Run.create(tmp_path / "run", experiment, tiny())
    assert fit(experiment, tiny(), run)
    (tmp_path / "x").write_bytes(b"abc")
    with pytest.raises(UserError, match=r"without --class needs .* unconditional_share=0"):
        vlb.sample(run, vlb.SampleOptions(n=1))
    with pytest.raises(UserError, match=r"--guidance needs .* unconditional_share=0"):
        vlb.sample(run, vlb.SampleOptions(n=1, label="1", guidance=2))
    with pytest.raises(UserError, match=r"compression needs .* unconditional_share=0"):
        vlb.compress(run, [tmp_path / "x"], tmp_path / "x.vlb")
    assert vlb.sample(run, vlb.SampleOptions(n=1, label="1", steps=2)).x.shape == (1, 1, 2, 2)

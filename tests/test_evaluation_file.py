"""Evaluations that are interrupted, kept, read back and continued: the same numbers to the bit."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.progress import SILENT
from vlb.core.condition import Condition
from vlb.core.terms import EXACT, BoundKind, TermPath
from vlb.data import Split
from vlb.measure.evaluation import Keep, Tally, measure_bound
from vlb.measure.evaluation_file import Begun, Subject, _digest, load, read, resume, save
from vlb.measure.keeper import Keeper

BOUND = BoundKind("a bound on")
SUBJECT = Subject("toy", "f" * 16, "test", 7, (2,), BOUND, False, "m" * 16, {"seed": 0})
COUNT = 11


@dataclasses.dataclass
class Noisy:
    """A bound with known mean and noise: two terms, one of them random."""

    shape: tuple[int, ...] = (2,)
    bound: BoundKind = BOUND
    offset: float = 0.0

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        known = x.double().sum(1)
        return {("known",): known, ("kl", 1): self.offset + torch.randn(len(x), generator=generator).double()}


def toy() -> Split:
    return Split(np.arange(2 * COUNT, dtype=np.uint8).reshape(COUNT, 2) % 7)


class Watching(Keep):
    """Goes on with a tally, and tells of it after each batch."""

    def __init__(self, told: Callable[[Tally], object], tally: Tally | None = None) -> None:
        super().__init__(tally)
        self.told = told

    def watch(self, tally: Tally) -> None:
        self.told(tally)


class Stopped(Exception):
    """What SIGKILL is to the process, this is to the loop."""


@settings(derandomize=True, deadline=None, max_examples=30)
@given(batch=st.integers(1, 12), after=st.integers(1, 30), every=st.integers(1, 5))
def test_an_interrupted_evaluation_goes_on_exactly(
    batch: int, after: int, every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stopped after any batch and continued from the last save, the result is the same to the bit."""
    path = tmp_path_factory.mktemp("kept") / "values.npz"
    index, calls = np.arange(COUNT), 0
    whole = measure_bound(Noisy(), toy(), passes=3, batch=batch)

    def watch(tally: Tally) -> None:
        nonlocal calls
        calls += 1
        if calls % every == 0:
            save(path, Begun(tally, SUBJECT, index, {}))
        if calls == after:
            raise Stopped

    with contextlib.suppress(Stopped):
        measure_bound(Noisy(), toy(), passes=3, batch=batch, keep=Watching(watch))
    found = resume(path, SUBJECT, index)
    again = measure_bound(Noisy(), toy(), passes=3, batch=batch, keep=Keep(found.tally if found else None))
    assert np.array_equal(again.values, whole.values)
    assert np.array_equal(again.pass_means, whole.pass_means)
    assert np.array_equal(again.monte_carlo_variance, whole.monte_carlo_variance)


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    path, kept = tmp_path / "values.npz", []
    whole = measure_bound(Noisy(), toy(), passes=3, keep=Watching(kept.append))
    save(path, Begun(kept[-1], SUBJECT, np.arange(COUNT) * 2, {"a": [1]}))
    found = load(path)
    assert found.subject == SUBJECT
    assert np.array_equal(found.index, np.arange(COUNT) * 2)
    assert np.array_equal(found.evaluation.values, whole.values)
    assert found.evaluation.bits_per_dim == whole.bits_per_dim
    assert found.evaluation.se_monte_carlo == whole.se_monte_carlo
    assert found.evaluation.se_data == whole.se_data
    assert read(path).notes == {"a": [1]}


def test_running_means_are_the_means_of_the_draws() -> None:
    draws = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    tally = Tally((("a",), ("b",)), np.zeros((4, 2)), np.zeros(4), 3)
    for one in draws:
        tally.add(one[:3])
        tally.add(one[3:])
    result = tally.evaluation(2, "", False)
    totals = draws.sum(2)
    np.testing.assert_allclose(result.values, draws.mean(0), rtol=1e-12)
    np.testing.assert_allclose(result.monte_carlo_variance, totals.var(0, ddof=1) / 5, rtol=1e-12)
    np.testing.assert_allclose(result.pass_means, totals.mean(1), rtol=1e-12)
    error = math.sqrt(
        sum((n / 4) ** 2 * totals[:, p].mean(1).var(ddof=1) / 5 for n, p in ((3, slice(3)), (1, slice(3, 4))))
    )
    assert result.se_monte_carlo == pytest.approx(error / (2 * math.log(2)))


def test_a_precision_is_reached_in_as_few_passes_as_it_takes() -> None:
    reached = measure_bound(Noisy(), toy(), passes=2, precision=0.05, budget=10_000)
    assert reached.se_monte_carlo <= 0.05
    before = measure_bound(Noisy(), toy(), passes=len(reached.pass_means) - 1)
    assert before.se_monte_carlo > 0.05 or len(reached.pass_means) == 9  # one batch a pass: 8 degrees of freedom
    assert len(measure_bound(Noisy(), toy(), passes=2, precision=1e6, budget=10_000).pass_means) == 9
    assert len(measure_bound(Noisy(), toy(), passes=2, batch=1, precision=1e6, budget=10_000).pass_means) == 2
    spent = measure_bound(Noisy(), toy(), passes=2, precision=1e-6, budget=5)
    assert len(spent.pass_means) == 5 and spent.se_monte_carlo > 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "n" * 16}, "model"),
        ({"fingerprint": "0" * 16}, "fingerprint"),
        ({"options": {"seed": 1}}, "options"),
        ({"bound": "another"}, "another here"),
    ],
)
def test_another_evaluation_is_not_gone_on_with(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "values.npz"
    save(path, Begun(Tally((("a",),), np.ones((3, 1)), np.zeros(3), 2, [1.0, 1.0]), SUBJECT, np.arange(3), {}))
    with pytest.raises(UserError, match=message):
        resume(path, dataclasses.replace(SUBJECT, **change), np.arange(3))
    with pytest.raises(UserError, match="other examples"):
        resume(path, SUBJECT, np.arange(3) + 1)
    with pytest.raises(UserError, match="not finished"):
        load(path)


def test_of_two_evaluations_in_one_file_one_has_it(tmp_path: Path) -> None:
    """Whoever saves first: the same evaluation may go on there, another one is refused, and nothing is written over."""
    path, progress = tmp_path / "values.npz", SILENT
    tally = Tally((("a",),), np.ones((3, 1)), np.zeros(3), 2, [1.0, 1.0])
    subjects = (SUBJECT, SUBJECT, dataclasses.replace(SUBJECT, data="other"))
    first, same, other = (Keeper(path, subject, np.arange(3)) for subject in subjects)
    first.end(tally, progress, False)
    written = path.read_bytes()
    other.end(tally, progress, False)
    assert other.path is None  # not kept, which is said
    assert path.read_bytes() == written
    same.end(tally, progress, False)
    assert np.array_equal(read(path).tally.means, tally.means)
    (tmp_path / "link.npz").symlink_to("nowhere")
    with pytest.raises(UserError, match="exists already"):
        Keeper(tmp_path / "link.npz", SUBJECT, np.arange(3))


def rewritten(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[bytes, Path], None]:
    def apply(_content: bytes, path: Path) -> None:
        with np.load(path) as archive:
            arrays = dict(archive)
        change(arrays)
        with contextlib.suppress(ValueError):  # the checksum made right again, as someone would do who wants to mislead
            content = json.loads(str(arrays["about"]))
            del content["digest"]
            numbers = {name: array for name, array in arrays.items() if name != "about"}
            arrays["about"] = np.array(json.dumps(content | {"digest": _digest(numbers, content)}))
        np.savez(path, **arrays)

    return apply


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "values.npz"
    save(path, Begun(Tally((("a",),), np.ones((3, 1)), np.zeros(3), 3, [1.0, 1.0]), SUBJECT, np.arange(3), {"b": 1}))
    whole = dict(np.load(path))
    for name, changed in (
        ("values", whole["values"] + 1e-9), ("index", whole["index"] + 1), ("deviations", whole["deviations"] + 1),
        ("batch_means", whole["batch_means"] * 2), ("about", np.array(str(whole["about"]).replace('"b": 1', '"b": 2'))),
    ):  # fmt: skip
        np.savez(path, **(whole | {name: changed}))
        with pytest.raises(UserError, match="checksum"):
            load(path)


def about(arrays: dict[str, np.ndarray], **fields: object) -> None:
    content = json.loads(str(arrays["about"]))
    arrays["about"] = np.array(json.dumps(content | fields))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, path: path.write_bytes(content[: len(content) // 2]),
        lambda content, path: path.write_bytes(b"no archive"),
        rewritten(lambda a: a.pop("values")),
        rewritten(lambda a: a.update(values=a["values"][:-1])),
        rewritten(lambda a: a.update(values=a["values"] * np.nan)),
        rewritten(lambda a: a.update(values=a["values"].astype(np.float32))),
        rewritten(lambda a: a.update(index=a["index"].astype(np.float64))),
        rewritten(lambda a: a.update(deviations=a["deviations"] - 9)),
        rewritten(lambda a: a.update(batch=np.array(0))),
        rewritten(lambda a: a.update(batch=np.array(7))),
        rewritten(lambda a: a.update(values=a["values"] * 1e300)),
        rewritten(lambda a: a.update(about=np.array("{"))),
        rewritten(lambda a: a.update(values=np.array([None, {}], dtype=object))),
        rewritten(lambda a: about(a, format=99)),
        rewritten(lambda a: about(a, subject={"data": 3})),
        rewritten(lambda a: about(a, subject=dataclasses.asdict(SUBJECT) | {"shape": [0]})),
        rewritten(lambda a: about(a, subject=dataclasses.asdict(SUBJECT) | {"levels": "many"})),
    ],
)
def test_a_damaged_file_is_refused(damage: Callable[[bytes, Path], None], tmp_path: Path) -> None:
    path = tmp_path / "values.npz"
    subject = dataclasses.replace(SUBJECT, options={"batch": 3})
    save(path, Begun(Tally((("a",),), np.ones((3, 1)), np.zeros(3), 3, [1.0, 1.0]), subject, np.arange(3), {}))
    load(path)
    damage(path.read_bytes(), path)
    with pytest.raises(UserError, match=r"values\.npz"):
        load(path)


@pytest.mark.parametrize(
    ("words", "bound"),
    [
        ("exact -log p(x)", EXACT),
        ("discrete-time bound on -log p(x), T = 3", BoundKind("discrete-time bound on", ", T = 3")),
    ],
)
def test_a_file_of_before_is_read(words: str, bound: BoundKind, tmp_path: Path) -> None:
    """It has the terms and the bound in words, and is gone on with."""
    path, subject = tmp_path / "values.npz", dataclasses.replace(SUBJECT, bound=bound)
    paths: tuple[TermPath, ...] = (("reconstruction",), ("kl", 12))
    save(path, Begun(Tally(paths, np.ones((3, 2)), np.zeros(3), 3, [1.0, 1.0]), subject, np.arange(3), {}))
    arrays = dict(np.load(path))
    about = json.loads(str(arrays.pop("about")))
    del about["bound"], about["digest"]
    about["names"] = ["reconstruction", "kl_12"]
    assert about["subject"]["bound"] == words
    about["digest"] = _digest(arrays, about)
    np.savez(path, about=np.array(json.dumps(about)), **arrays)
    found = load(path)
    assert found.evaluation.paths == paths and found.subject == subject
    assert resume(path, subject, np.arange(3)) is not None


def test_bounds_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="example 0 is nan"):
        measure_bound(Noisy(offset=float("nan")), toy(), passes=2)
    with pytest.raises(UserError, match="positive"):
        measure_bound(Noisy(), toy(), passes=2, precision=float("nan"))
    with pytest.raises(UserError, match="no examples"):
        measure_bound(Noisy(), Split(np.zeros((0, 2), np.uint8)))
    with pytest.raises(UserError, match="shape"):
        measure_bound(Noisy(), Split(np.zeros((3, 5), np.uint8)))


class Counted:
    """An array on a disk: what is asked for at once is written down."""

    shape = (1000, 2)

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        self.asked.append(len(index))
        return np.zeros((len(index), 2), np.uint8)


def test_memory_does_not_grow_with_the_data() -> None:
    x, tallies = Counted(), []
    measure_bound(Noisy(), Split(x), passes=2, batch=7, keep=Watching(tallies.append))  # type: ignore[arg-type]
    assert max(x.asked) == 7 and sum(x.asked) == 2001  # the last for its type
    held = tallies[-1]
    assert all(tally is held for tally in tallies)
    assert held.means.size + held.deviations.size + len(held.batch_means) < 4 * 1000

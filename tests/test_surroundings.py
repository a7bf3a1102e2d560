"""No public call reads or leaves behind what is the process's: numbers are those of a fresh process, and torch, numpy
and Python have their random numbers and their settings afterwards as before."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vlb
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.coding.options import CompressOptions, DecompressOptions, InspectOptions
from vlb.core.draws import DRAWING, Draws
from vlb.core.initial import initialise
from vlb.core.surroundings import ordinary
from vlb.data import Dataset, load
from vlb.generate.options import SampleOptions
from vlb.measure.options import CompareOptions, EvaluateOptions, ScoreOptions, TightnessOptions
from vlb.nn.dropout import Dropout, dropouts, masked
from vlb.store import checkpoint
from vlb.store.experiment import Experiment
from vlb.training.options import TrainOptions

TINY = TrainOptions(
    overrides=(
        "steps=6", "batch=8", "backbone=mlp", "backbone.width=16", "backbone.blocks=2", "backbone.dropout=0.3",
        "validate_every=3", "training.validation_examples=40", "warmup=2", "ema=0.9",
    )
)  # fmt: skip


@contextmanager
def default_type(kind: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def no_gradients_at_all() -> Iterator[None]:
    torch.set_grad_enabled(False)
    try:
        yield
    finally:
        torch.set_grad_enabled(True)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_type(torch.float64),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": no_gradients_at_all,
    "default device": lambda: torch.device("meta"),
    "numpy raises": lambda: np.errstate(all="raise"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "tiny"
    vlb.train("digits", TINY, out=path)
    return path


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def plain(value: Any) -> Any:
    """Without what is of a machine, a moment or a place."""
    if isinstance(value, dict):
        left_out = ("seconds", "file", "folder", "run", "path", "steps_per_second")
        return {key: plain(item) for key, item in value.items() if key not in left_out and "MB/s" not in repr(item)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def trained(run: Path, folder: Path) -> Any:
    made = vlb.train("digits", TINY, out=folder / "again").run
    stored = checkpoint.read(made.last)
    return [made.fingerprint, {name: (str(x.dtype), x.double().sum().item()) for name, x in stored.tensors.items()}]


def loaded(run: Path, folder: Path) -> Any:
    model = vlb.load(run)
    return {name: (str(x.dtype), x.is_inference(), x.double().sum().item()) for name, x in model.state_dict().items()}


def compressed(run: Path, folder: Path) -> Any:
    np.save(folder / "x.npy", load("digits").test.x[:3])
    how = CompressOptions(effort="fast", steps=2, embed_model=True)
    vlb.compress(run, [folder / "x.npy"], folder / "x.vlb", how)
    return (folder / "x.vlb").read_bytes()


def restored(run: Path, folder: Path) -> Any:
    vlb.decompress(run.parent / "x.vlb", folder / "out", DecompressOptions())
    return (folder / "out" / "x.npy").read_bytes()


def inspected(run: Path, folder: Path) -> Any:
    found = vlb.inspect(run.parent / "x.vlb", InspectOptions(account=True))
    assert found.audit is not None
    return found.audit.bound, found.audit.accounts


def scored(run: Path, folder: Path) -> Any:
    np.save(folder / "x.npy", load("digits").test.x[:5])
    columns = vlb.score(run, folder / "x.npy", ScoreOptions(passes=2, draws=2)).columns
    return {name: values.tolist() for name, values in columns.items()}


VERBS: dict[str, Callable[[Path, Path], Any]] = {
    "train": trained,
    "load": loaded,
    "evaluate": lambda run, _: vlb.evaluate(run, options=EvaluateOptions(passes=2, examples=20), keep=False).values(),
    "ode": lambda run, _: vlb.evaluate(
        run, options=EvaluateOptions(passes=2, examples=2, likelihood="ode", steps=2), keep=False
    ).values(),
    "sample": lambda run, _: vlb.sample(run, SampleOptions(n=2, steps=3)).x.tolist(),
    "score": scored,
    "compare": lambda run, _: vlb.compare(
        [str(run), "independent-pixels"], CompareOptions(examples=10, passes=2)
    ).values(),
    "tightness": lambda run, _: vlb.tightness(
        run, options=TightnessOptions(examples=4, steps=2, draws=3)
    ).values(),
    "compress": compressed,
    "decompress": restored,
    "inspect": inspected,
}  # fmt: skip


def of_the_process() -> list[Any]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (the process's own is what this is about)
    settings = torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    device, errors = str(torch.get_default_device()), np.geterr()
    autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    torch_seed = torch.get_rng_state().tolist()
    return [torch_seed, name, keys.tolist(), rest, random.getstate(), settings, device, errors, autocast]


@pytest.fixture(scope="module")
def expected(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each verb gives in ordinary surroundings."""
    (run.parent / "x.vlb").write_bytes(compressed(run, tmp_path_factory.mktemp("compress")))
    return {name: plain(verb(run, tmp_path_factory.mktemp(name))) for name, verb in VERBS.items()}


@pytest.mark.parametrize("verb", VERBS)
def test_numbers_are_those_of_a_fresh_process(verb: str, run: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    for number, (state, around) in enumerate(STATES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with around():
            before = of_the_process()
            found = VERBS[verb](run, folder)
            assert of_the_process() == before, f"{verb} left something behind under {state}"
        assert plain(found) == expected[verb], f"{verb} is another under {state}"


def test_a_report_states_the_numbers_of_a_fresh_process(run: Path) -> None:
    expected = vlb.report(run).words
    with ExitStack() as all_at_once:
        for state in ("float64", "autocast", "inference_mode", "numpy raises"):
            all_at_once.enter_context(STATES[state]())
        before = of_the_process()
        assert vlb.report(run).words == expected and of_the_process() == before


def test_trainings_in_threads_are_equal(expected: dict[str, Any], run: Path, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    state = torch.get_rng_state()
    with ThreadPoolExecutor(len(folders)) as pool:
        found = list(pool.map(lambda folder: plain(trained(run, folder)), folders))
    assert all(one == expected["train"] for one in found)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_default_type_is_put_back_by_the_last_of_several_calls() -> None:
    with default_type(torch.float64):
        first, second = ordinary(), ordinary()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float32
        second.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float64


@pytest.mark.parametrize("recipe", ["digits", "digits-vae", "digits-hvae-top-down", "digits-mixture", "digits-ladder"])
def test_initial_weights_are_those_of_a_seeded_process(recipe: str, digits: Dataset) -> None:
    """As they were when the process's own generator was seeded for them, and that generator is not touched."""
    experiment: Experiment = vlb.recipe(recipe)
    if recipe == "digits-mixture":
        experiment = override(override(experiment, "components=2"), "em_steps=1")
    state = torch.get_rng_state()
    built = experiment.build(digits)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        model = experiment.model.build(digits.schema)
        initialise(model, digits.train, torch.default_generator)
    for (name, one), other in zip(built.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_masks_are_torch_s_own(kind: torch.dtype) -> None:
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)).to(kind)
    ours, its = Dropout(0.3), nn.Dropout(0.3)
    with masked(dropouts(ours), torch.Generator().manual_seed(5)):
        found = ours(x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert torch.equal(found, its(x))
    assert torch.equal(ours.eval()(x), x) and not Dropout(1.0)(x).any() and torch.equal(Dropout(0.0)(x), x)


def test_a_network_that_draws_from_the_process_is_refused() -> None:
    with pytest.raises(UserError, match=r"vlb\.nn\.dropout"):
        dropouts(nn.Sequential(nn.Linear(2, 2), nn.Dropout2d(0.1)))
    dropouts(nn.Sequential(nn.Dropout(0.0)))


def test_whatever_is_drawn_within_is_the_generator_s() -> None:
    made = {
        torch.rand: (2,), torch.randn: (2,), torch.randint: (5, (2,)), torch.randperm: (4,),
        torch.normal: (torch.zeros(2), torch.ones(2)), torch.bernoulli: (torch.full((9,), 0.5),),
        torch.multinomial: (torch.ones(3), 2), torch.Tensor.geometric_: (torch.zeros(3), 0.5),
        torch.Tensor.bernoulli: (torch.full((9,), 0.5),), torch.Tensor.multinomial: (torch.ones(3), 2),
    }  # fmt: skip
    for func in DRAWING:
        drawn = []
        for _ in range(2):
            arguments = made.get(func, (torch.zeros(3, 2),))
            state = torch.get_rng_state()
            with Draws(torch.Generator().manual_seed(3)):
                drawn.append(func(*(x.clone() if isinstance(x, torch.Tensor) else x for x in arguments)))
            assert torch.equal(torch.get_rng_state(), state), func
        assert torch.equal(*drawn), func
    with nullcontext(torch.Generator().manual_seed(3)) as own, Draws(torch.Generator()):
        named = torch.rand(3, generator=own)
    assert torch.equal(named, torch.rand(3, generator=torch.Generator().manual_seed(3)))

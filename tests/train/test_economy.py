"""Steps in parts, with activations made anew, by compiled networks: the same numbers as without."""

import copy
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import vlb
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.core.ranks import joined
from vlb.data import Dataset, load
from vlb.nn.dropout import masked
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.batches import network_generator, step_generator
from vlb.training.economy import Economy
from vlb.training.loop import fit
from vlb.training.recipes import recipe
from vlb.training.trainer import Trainer

BATCH = 12
CPU = torch.device("cpu")
UNET = ("backbone.widths=[8,12]", "backbone.dropout=0.2")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def settled(name: str, *more: str) -> Experiment:
    experiment = recipe(name)
    for assignment in (f"batch={BATCH}", *more):
        experiment = override(experiment, assignment)
    return experiment


def trainer(data: Dataset, name: str, *more: str) -> Trainer:
    """Moved from its initial weights, of which many are zero."""
    experiment = settled(name, *more)
    model = experiment.build(data)
    made = Trainer(model, experiment.build_loss(model), experiment.training, 0, CPU)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return made


def gradients(made: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.grad.clone() for name, value in made.module.named_parameters() if value.grad is not None}


def assert_close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], share: float) -> None:
    """Within a share of the largest gradient: small ones are differences of large ones, and orders of sums differ."""
    largest = max(float(value.abs().max()) for value in wanted.values())
    assert found.keys() == wanted.keys() and largest > 0
    for name, value in wanted.items():
        assert float((found[name] - value).abs().max()) <= share * largest, name


@lru_cache(maxsize=1)
def mixture() -> tuple[Experiment, nn.Module]:
    experiment = settled("digits-mixture", "model.components=3")
    return experiment, experiment.build(load("digits"))


@settings(max_examples=6, deadline=None)
@given(count=st.integers(1, BATCH), size=st.integers(1, BATCH))
def test_what_draws_nothing_has_the_gradient_of_the_undivided_step(count: int, size: int) -> None:
    experiment, model = mixture()
    x = torch.from_numpy(load("digits").train.x[:size].copy())
    whole, divided = (
        Trainer(
            copy.deepcopy(model), experiment.build_loss(model), override(experiment, f"accumulate={n}").training, 0, CPU
        )
        for n in (1, count)
    )
    wanted, found = (made.gradient(x, UNCONDITIONAL) for made in (whole, divided))
    for name, term in wanted.items():
        torch.testing.assert_close(found[name], term)
    assert_close(gradients(divided), gradients(whole), 1e-5)


@pytest.mark.parametrize("count", [2, 5, BATCH])
def test_a_divided_step_is_the_step_of_one_graph_over_the_same_draws(count: int, digits: Dataset) -> None:
    """The terms of all parts, made by hand from the generators of the step, with one backward pass over their mean."""
    divided = trainer(digits, "digits", *UNET, f"accumulate={count}")
    whole = copy.deepcopy(divided)
    x = torch.from_numpy(digits.train.x[:BATCH].copy())
    divided.gradient(x, UNCONDITIONAL)

    noise, masks = (make(0, 0, CPU) for make in (step_generator, network_generator))
    losses, seen = [], []
    with masked(whole.dropouts, masks):
        for part in whole.economy.divided(BATCH):
            terms, sums = whole.module(x[part], UNCONDITIONAL, noise, 0)
            losses.append((part.stop - part.start) / BATCH * sum(terms.values()))
            seen.append(sums)
    torch.stack(losses).sum().backward()
    whole.loss.learn({name: sum(sums[name] for sums in seen) for name in seen[0]})

    assert_close(gradients(divided), gradients(whole), 1e-5)
    learned = dict(whole.loss.named_buffers())
    for name, value in divided.loss.named_buffers():
        torch.testing.assert_close(value, learned[name])
    assert float(learned["times.weight"].sum()) > 0


@given(batch=st.integers(1, 200), count=st.integers(1, 64))
def test_parts_are_the_batch_as_even_as_they_can_be(batch: int, count: int) -> None:
    economy = Economy.__new__(Economy)
    economy.count = count
    cut = list(economy.divided(batch))
    assert [i for part in cut for i in range(batch)[part]] == list(range(batch))
    sizes = [part.stop - part.start for part in cut]
    assert len(sizes) == min(batch, count) and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("more", [UNET, (*UNET, "accumulate=3"), (*UNET, "precision=bfloat16"), ("backbone=mlp",)])
def test_activations_made_anew_are_the_same_to_the_bit(more: tuple[str, ...], digits: Dataset) -> None:
    """With the masks of dropout, and with attention."""
    x = torch.from_numpy(digits.train.x[:BATCH].copy())
    kept = trainer(digits, "digits", *more)
    anew = trainer(digits, "digits", *more, "activation_checkpointing=true")
    for _ in range(2):
        a, b = (made.update(x, UNCONDITIONAL) for made in (kept, anew))
        assert a == b
    for name, value in gradients(kept).items():
        assert torch.equal(gradients(anew)[name], value), name
    for name, value in kept.module.state_dict().items():
        assert torch.equal(anew.module.state_dict()[name], value), name
    assert not any(stage.again for stage in anew.economy.stages)


def test_activations_made_anew_are_not_kept(digits: Dataset) -> None:
    x = torch.from_numpy(digits.train.x[:BATCH].copy())

    def kept(more: str) -> int:
        made = trainer(digits, "digits", *UNET, more)
        held: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            made.gradient(x, UNCONDITIONAL)
        return sum(held.values())

    assert kept("activation_checkpointing=true") < 0.5 * kept("activation_checkpointing=false")


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("digits", ("accumulate=13",), "does not have 13 parts"),
        ("digits-ladder", ("accumulate=2",), "moments of a whole batch"),
        ("digits-vae", ("accumulate=2", "loss.free_nats=0.1"), "free_nats"),
        ("digits-mixture", ("activation_checkpointing=true",), "stages"),
        ("digits-mixture", ("compile=true",), "as a whole"),
        ("digits", ("compile=true",), "dropout"),
        ("digits", ("backbone.dropout=0", "compile=true", "activation_checkpointing=true"), "decides"),
    ],
)
def test_what_cannot_be_is_refused_before_there_is_a_run(
    name: str, more: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        vlb.train(settled(name, *more), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


COMPILED = ("backbone=mlp", "backbone.width=16", "backbone.blocks=1", "backbone.dropout=0", "compile=true")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What torch has compiled is compiled again."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_compiled_networks_take_the_same_steps(digits: Dataset, forgotten: None) -> None:
    x = torch.from_numpy(digits.train.x[:BATCH].copy())
    plain, made = trainer(digits, "digits", *COMPILED[:-1]), trainer(digits, "digits", *COMPILED)
    for _ in range(3):
        wanted, found = (one.update(x, UNCONDITIONAL) for one in (plain, made))
        assert found.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert_close(gradients(made), gradients(plain), 1e-4)
    assert made.checkpoint().tensors.keys() == plain.checkpoint().tensors.keys()
    assert all(network.compiled is None for network in made.economy.networks)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_a_missing_compiler_is_said(digits: Dataset, forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor, "force_disable_caches", True)
    monkeypatch.setattr(inductor.cpp, "cxx", (None, "no-such-compiler"))
    made = trainer(digits, "digits", *COMPILED)
    with pytest.raises(UserError, match="C\\+\\+ compiler"):
        made.update(torch.from_numpy(digits.train.x[:BATCH].copy()), UNCONDITIONAL)


class Short(nn.Module):
    """A step by a device that has memory for so many examples."""

    def __init__(self, step: nn.Module, most: int) -> None:
        super().__init__()
        self.step, self.most = step, most

    def forward(self, x: torch.Tensor, *more: object) -> object:
        if len(x) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return self.step(x, *more)


@pytest.mark.parametrize(
    "most, recipe_of, more, advice",
    [
        (11, "digits", (), "training.accumulate=2, which fits here"),
        (5, "digits", (), "training.accumulate=4, which fits here"),
        (3, "digits", ("accumulate=2",), "training.accumulate=4, which fits here"),
        (1, "digits", (), "training.accumulate=12, which fits here"),
        (0, "digits", (), "a single example: train with --set training.activation_checkpointing=true"),
        (4, "digits-ladder", (), "training.batch=3, which fits here"),
    ],
)
def test_what_is_too_large_says_in_how_many_parts_it_is_not(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch, most: int, recipe_of: str, more: tuple[str, ...],
    advice: str,
) -> None:  # fmt: skip
    own = settled(recipe_of, *more, "steps=2", "training.warmup=1")
    run = Run.create(tmp_path / "run", own, digits)
    step = Trainer.passes

    def short(self: Trainer, *given: Any) -> Any:
        whole, self.module = self.module, Short(self.module, most)  # type: ignore[assignment]
        try:
            return step(self, *given)
        finally:
            self.module = whole

    monkeypatch.setattr(Trainer, "passes", short)
    with pytest.raises(UserError, match=re.escape("(CUDA out of memory. Tried to allocate 1.00 GiB)")) as refused:
        fit(own, digits, run)
    assert advice in str(refused.value)


def test_a_precision_that_a_gpu_lacks_is_refused_before_a_run_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "An old GPU")
    options = vlb.TrainOptions(overrides=("precision=bfloat16",))
    with pytest.raises(UserError, match=r"An old GPU .*precision=float16, or float32"):
        vlb.train("digits", options, out=tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="finds 1 GPU: --nproc-per-node 1"), joined(torch.device("cuda")):
        pass

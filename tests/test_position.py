"""A window of sound is told where in its recording it lies: wherever a model is asked of it, and without it nothing is
otherwise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vlb
from vlb.base import configuration
from vlb.base.errors import UserError
from vlb.coding import writing
from vlb.core.condition import Condition
from vlb.core.layouts import Image, Wave
from vlb.core.position import MAPS, SCALES, Place, maps
from vlb.core.schema import Levels, Schema
from vlb.data.formats.wav import sound
from vlb.data.pieces import alone
from vlb.data.sounds import Windows, load_sounds
from vlb.measure.score import distinct
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.preconditioned import Preconditioned
from vlb.nn.unet import UNet
from vlb.store.experiment import DataSource, Experiment, Training
from vlb.store.runs import Run

RATE, WINDOW = 8000, 32
MODEL = Diffusion(backbone=UNet(widths=(4,), attention=(False,)), head=Preconditioned(components=2), position=True)


def schema(position: bool = True, levels: int = 256) -> Schema:
    return Schema(layout=Wave((1, WINDOW), RATE, position=position), kinds=Levels(levels))


def built(position: bool = True, seed: int = 0) -> DiffusionModel:
    """A model all of whose weights are random, so that what it is told matters."""
    model = replace(MODEL, position=position).build(schema(position))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def told(start: list[int], length: list[int]) -> Condition:
    return Condition(planes=torch.from_numpy(maps(np.array(start), np.array(length), WINDOW, RATE)))


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30), st.integers(1, 50), st.integers(1, 200_000))
@settings(max_examples=100, deadline=None)
def test_maps_are_of_the_time_from_both_ends(before: int, after: int, window: int, rate: int) -> None:
    length = before + window + after
    found = maps(np.array([before]), np.array([length]), window, rate)
    assert found.shape == (1, MAPS, window) and found.dtype == np.float32 and (np.abs(found) <= 1).all()
    seconds = (before + np.arange(window) + 0.5) / rate
    for number, scale in enumerate(SCALES):
        np.testing.assert_allclose(found[0, number], np.tanh(0.5 * np.log(seconds / scale)), atol=1e-6)
    turned = maps(np.array([after]), np.array([length]), window, rate)[0, :, ::-1]
    np.testing.assert_allclose(found[0], np.roll(turned, len(SCALES), 0), atol=1e-6)  # what is played backwards


def test_a_model_that_weighs_no_position_is_the_model_without() -> None:
    with_, without = built(True), built(False)
    weights = dict(without.state_dict())
    first = "denoiser.backbone.first.weight"
    assert with_.state_dict()[first].shape[1] == weights[first].shape[1] + MAPS
    weights[first] = torch.cat((weights[first], torch.zeros(*weights[first].shape[:1], MAPS, 3)), 1)
    with_.load_state_dict(weights)
    x = torch.randint(0, 256, (3, 1, WINDOW), generator=torch.Generator().manual_seed(1))
    plain = without.terms(x, Condition(), torch.Generator().manual_seed(2))
    placed = with_.terms(x, told([0, 32, 64], [96, 96, 96]), torch.Generator().manual_seed(2))
    for path, term in plain.items():
        torch.testing.assert_close(placed[path], term, rtol=1e-5, atol=1e-3)


def test_masses_at_a_place_add_up_to_one() -> None:
    model = built()
    z = torch.randn(2, 1, WINDOW, generator=torch.Generator().manual_seed(0))
    gamma = torch.full((2, 1), -3.0, dtype=torch.float64)
    law = model.denoiser(z, gamma, told([0, 500], [532, 532])).law
    each = torch.arange(256).view(256, 1, 1, 1).expand(256, 2, 1, WINDOW)
    masses = torch.stack([law.log_probs(x) for x in each]).double().exp()
    torch.testing.assert_close(masses.sum(0), torch.ones(2, 1, WINDOW, dtype=torch.float64), rtol=0, atol=1e-4)
    other = model.denoiser(z, gamma, told([100, 0], [532, 532])).law
    assert not torch.allclose(law.log_probs(each[0]), other.log_probs(each[0]))


def recording(length: int, seed: int) -> bytes:
    x = np.random.default_rng(seed).normal(0, 3000, length).cumsum() / 20
    return sound((np.rint(x).astype(np.int64) + (1 << 15)).clip(0, (1 << 16) - 1).astype(np.uint16)[:, None], RATE)


def folder(path: Path, lengths: list[int]) -> Path:
    path.mkdir(parents=True)
    for number, length in enumerate(lengths):
        (path / f"{number:02}.wav").write_bytes(recording(length, number))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("position")
    experiment = Experiment(
        recipe="sound",
        data=DataSource(name="sound", path=str(folder(path / "data", [200] * 5)), window=WINDOW),
        model=MODEL,
        training=Training(steps=4, batch=8, warmup=1, validate_every=4, checkpoint_every=4),
    )
    return vlb.train(experiment, out=path / "run").run


def test_examples_come_with_their_place(run: Run) -> None:
    opened = Run.open(run.path)
    assert opened.schema.layout.maps == MAPS and opened.experiment.position
    _, condition = opened.data().train.batch(np.array([0, 1, 6]), False, "cpu")
    torch.testing.assert_close(condition.planes, told([0, 32, 0], [200] * 3).planes)
    taken = opened.data().train.take(np.array([1]))
    assert taken.planes is not None
    np.testing.assert_array_equal(taken.planes, told([32], [200]).planes)


@given(st.lists(st.integers(0, 150), min_size=1, max_size=4), st.integers(0, 9))
@settings(max_examples=3, deadline=None)
def test_recordings_of_any_length_come_back(
    run: Run, tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    path = tmp_path_factory.mktemp("coded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "CHUNK_VALUES", 3 * WINDOW)  # so that a recording is in several chunks
        source = folder(path / "in", [*lengths, 170])
        vlb.compress(run, [source], path / "a.vlb", vlb.CompressOptions(effort="fast", steps=2))
    vlb.decompress(path / "a.vlb", path / "out", run=run.path)
    for file in source.iterdir():
        assert (path / "out" / "in" / file.name).read_bytes() == file.read_bytes()


def test_equal_windows_elsewhere_are_others(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound(np.full((128, 1), 1 << 15, np.uint16), RATE))
    for part in ("train", "validation", "test"):
        (tmp_path / "s" / part).mkdir(parents=True)
        (tmp_path / "s" / part / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    plain = load_sounds(tmp_path / "s", Windows(window=WINDOW)).test
    placed = load_sounds(tmp_path / "s", Windows(window=WINDOW, position=True)).test
    assert len(distinct(plain, False)[0]) == 1 and len(distinct(placed, False)[0]) == 4


def test_samples_say_where_they_lie(run: Run) -> None:
    found = vlb.sample(run, vlb.SampleOptions(n=2, steps=1))
    assert "anywhere in recordings of 3 s" in found.how
    again = vlb.sample(run, vlb.SampleOptions(n=2, steps=1, start=0.01, lasting=0.02))
    assert "from 0.01 s on in recordings of 0.02 s" in again.how
    with pytest.raises(UserError, match=r"do not lie in recordings of 0\.02 s from 0\.019 s on"):
        vlb.sample(run, vlb.SampleOptions(n=2, steps=1, start=0.019, lasting=0.02))
    with pytest.raises(UserError, match="--start and --lasting are of windows of sound"):
        vlb.sample("vlb:digits", vlb.SampleOptions(n=1, steps=1, start=1.0))


def test_places_are_inside_their_recording() -> None:
    generator = torch.Generator().manual_seed(0)
    for place in (Place(), Place(lasting=0.001), Place(start=0.0), Place(start=2.996)):
        for source in (generator, None):
            assert (np.abs(place.maps(50, WINDOW, RATE, source)) < 1).all()  # a time before an end would be beyond


def test_what_has_no_position_is_refused() -> None:
    with pytest.raises(UserError, match="positions are of windows of sound"):
        MODEL.build(Schema(layout=Image((1, 8, 8)), kinds=Levels(4)))
    with pytest.raises(UserError, match=r"model\.position=true"):
        replace(MODEL, position=False).build(schema())
    with pytest.raises(UserError, match="waves without a rate"):
        Wave((1, WINDOW), position=True)
    with pytest.raises(UserError, match="maps aligned with x"):
        built().terms(torch.zeros(1, 1, WINDOW, dtype=torch.uint8), Condition(), torch.Generator())


def test_runs_of_before_have_none() -> None:
    written = configuration.encode(schema(False))
    del written["layout"]["position"]
    assert configuration.decode(Schema, written, "schema") == schema(False)
    assert alone(schema(False), 3).nothing


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_runs_with_and_without_are_compared(run: Run, tmp_path: Path, order: tuple[int, int]) -> None:
    experiment = replace(run.experiment, model=replace(MODEL, position=False))
    plain = vlb.train(experiment, out=tmp_path / "plain").run
    paths = [str(run.path), str(plain.path)]
    found = vlb.compare([paths[i] for i in order], vlb.CompareOptions(passes=2))
    first, second = found.comparisons[0].first, found.comparisons[0].second
    assert first.evaluation.dimensions == second.evaluation.dimensions == WINDOW
    assert np.isfinite(found.comparisons[0].total.mean) and found.levels


def test_a_run_is_reported_on(run: Run) -> None:
    assert "evenly over a recording of 3 s" in vlb.report(run).path.read_text()

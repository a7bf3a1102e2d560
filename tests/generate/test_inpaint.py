"""Pixels under a mask: drawn from the conditional law, and never another pixel touched."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vlb
from tests.commands.test_tables import vlb as command
from tests.oracles import LIMIT, seeded, z_score
from vlb.base.errors import UserError
from vlb.core.initial import initialise
from vlb.core.schema import levels_schema
from vlb.data import Split, load
from vlb.data.formats.base import File, Member
from vlb.data.formats.png import Png
from vlb.data.pictures import read_picture
from vlb.generate.inpaint import laws
from vlb.generate.options import ImputeOptions
from vlb.models.diffusion.config import Diffusion
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.models.protocols import LikelihoodModel
from vlb.nn.mlp import MLP
from vlb.store.runs import Run

DIGITS = load("digits").test.x[:6]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of digits, whose conditional laws are exact."""
    path = tmp_path_factory.mktemp("inpaint") / "run"
    words = ("components=3", "em_steps=3", "steps=1")
    assert command("train", "digits-mixture", "--out", path, *(w for word in words for w in ("--set", word))) == 0
    return path


def many(model: LikelihoodModel, x: np.ndarray, hole: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n draws of one picture x (1, H, W), (n, 1, H, W)."""
    holes = np.broadcast_to(hole, (n, *hole.shape))
    found = laws(model, np.repeat(x[None], n, 0), holes, seed, n)
    return np.concatenate([law.sample(seeded(seed)).numpy() for _, law in found])


def test_draws_of_a_mixture_of_digits_have_its_conditional_law(run: Path) -> None:
    """Means of the pixels in the lower half and of their products with one of them, by the exact law. Some pixels are
    rarely not 0, so within Bernstein's bound of bounded numbers: of 63 bounds, false alarms below 1e-6."""
    model = Run.open(run).model()
    assert isinstance(model, CategoricalMixture)
    hole, n = np.zeros((8, 8), bool), 4000
    hole[4:] = True
    x = many(model, DIGITS[0], hole, n, 1).reshape(n, 64).astype(float)
    assert (x[:, ~hole.ravel()] == DIGITS[0].reshape(64)[~hole.ravel()]).all()
    law = model.conditional(torch.from_numpy(DIGITS[:1]), torch.from_numpy(~hole)[None, None], seeded())
    levels = torch.arange(17.0, dtype=torch.float64)
    first, second = (law.log_tables.double().exp() @ levels**power for power in (1, 2))
    weights = law.log_weights.double().exp()[0]
    pivot, sure = 5 * 8 + 3, math.log(2 * 63 / 1e-6)
    for place in np.flatnonzero(hole.ravel()).tolist():
        pairs = [(x[:, place], weights @ first[:, place], weights @ second[:, place], 16)]
        if place != pivot:
            product = weights @ (first[:, place] * first[:, pivot])
            pairs.append((x[:, place] * x[:, pivot], product, weights @ (second[:, place] * second[:, pivot]), 256))
        for found, mean, square, largest in pairs:
            bound = math.sqrt(2 * sure * float(square - mean**2) / n) + 2 * largest * sure / (3 * n)
            assert abs(found.mean() - float(mean)) < bound


def test_an_untrained_diffusion_model_fills_each_pixel_by_its_marginal() -> None:
    """It is the independent-pixel model exactly, so what is known says nothing. 12 z-scores within 5.5: false alarms
    5e-7; what 100 steps of the sampler are off by is far below a standard error of 2,000 draws."""
    schema, n = levels_schema((1, 2, 3), 3), 2000
    data = np.random.default_rng(0).choice(3, (900, 1, 2, 3), p=[0.6, 0.3, 0.1]).astype(np.uint8)
    torch.manual_seed(0)
    model = Diffusion(backbone=MLP(width=8, blocks=1), roles=True).build(schema)
    initialise(model, Split(data), seeded())
    hole = np.array([[True, False, True], [False, True, True]])
    x = np.full((1, 2, 3), 2, np.uint8)
    found = many(model, x, hole, n, 3)
    assert (found[:, 0, ~hole] == 2).all()
    for level in range(3):
        for row, column in np.argwhere(hole):
            expected = (data[:, 0, row, column] == level).mean()
            hits = torch.from_numpy((found[:, 0, row, column] == level).astype(float))
            assert abs(z_score(hits, expected)) < LIMIT + 0.5


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.2, 0.9, 1.0]), draws=st.integers(1, 3), each=st.booleans()
)
def test_no_pixel_is_touched_but_under_the_mask(run: Path, tmp_path: Path, seed, share, draws, each: bool) -> None:
    holes = np.random.default_rng(seed).random((6 if each else 1, 8, 8)) < share
    found = vlb.impute(run, DIGITS, ImputeOptions(draws=draws, seed=seed), mask=holes)
    wide = np.broadcast_to(holes, (6, 8, 8))
    assert found.x.shape == (draws, 6, 1, 8, 8) and (found.x[:, :, 0][:, ~wide] == DIGITS[:, 0][~wide]).all()
    assert found.x.max() < 17 and np.array_equal(found.holes, wide)
    one = vlb.impute(run, DIGITS, ImputeOptions(seed=seed), mask=holes)
    assert np.array_equal(one.x[0], found.x[0])  # more draws begin with the same
    assert found.values()["pixels"] == wide.sum((1, 2)).tolist() and str(found)


def picture(path: Path, values: np.ndarray) -> Path:
    path.write_bytes(Png().write(File((Member("", values),), b"")))
    return path


def test_pictures_folders_and_arrays_on_the_command_line(run: Path, tmp_path: Path, capsys) -> None:
    hole = np.zeros((8, 8), np.uint8)
    hole[4:] = 255
    mask = picture(tmp_path / "mask.png", hole)
    (tmp_path / "in").mkdir()
    for number, x in enumerate(DIGITS[:3]):
        picture(tmp_path / "in" / f"{number}.png", x[0])
    one = tmp_path / "in" / "0.png"
    assert command("impute", run, one, "--mask", mask, "-o", tmp_path / "o.png", "--draws", "2") == 0
    assert "32 pixels of 1 picture filled, in 2 draws" in " ".join(capsys.readouterr().out.split())
    first = read_picture(tmp_path / "o-1.png").values
    assert (first[0, :4] == DIGITS[0, 0, :4]).all() and not (tmp_path / "o.png").exists()
    assert (first != read_picture(tmp_path / "o-2.png").values).any()
    assert command("impute", run, tmp_path / "in", "--mask", mask, "-o", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png"]
    assert np.array_equal(read_picture(tmp_path / "out" / "1.png").values[0, :4], DIGITS[1, 0, :4])
    np.save(tmp_path / "x.npy", DIGITS[:, 0].astype(np.int16))
    np.save(tmp_path / "m.npy", hole.astype(bool))
    assert command("impute", run, tmp_path / "x.npy", "--mask", tmp_path / "m.npy", "-o", tmp_path / "y.npy") == 0
    found = np.load(tmp_path / "y.npy")
    assert found.dtype == np.int16 and (found[:, :4] == DIGITS[:, 0, :4]).all() and found.shape == (6, 8, 8)
    again = vlb.impute(run, DIGITS, mask=hole).write(tmp_path / "z.npy")
    assert np.array_equal(np.load(io.BytesIO(again[0].read_bytes())), np.load(tmp_path / "y.npy")[:, None])


def test_a_mask_of_nothing_gives_the_same_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = picture(tmp_path / "a.png", DIGITS[0, 0])
    mask = picture(tmp_path / "m.png", np.zeros((8, 8), bool))
    assert command("impute", run, one, "--mask", mask, "-o", tmp_path / "o.png") == 0
    said = capsys.readouterr()
    assert "no pixel is to be filled: 1 picture copied" in " ".join(said.out.split())
    assert "black throughout" in " ".join(said.err.split())
    assert (tmp_path / "o.png").read_bytes() == one.read_bytes()


def test_wrong_input_is_refused_before_anything_is_drawn(run: Path, tmp_path: Path, capsys) -> None:
    one = picture(tmp_path / "a.png", DIGITS[0, 0])
    mask, small = picture(tmp_path / "m.png", np.ones((8, 8), bool)), picture(tmp_path / "s.png", np.ones((8, 5), bool))
    (tmp_path / "there.png").write_text("mine")
    before = sorted(tmp_path.iterdir())

    def refused(*words: object) -> str:
        assert command("impute", run, *words) == 2
        assert sorted(tmp_path.iterdir()) == before
        return " ".join(capsys.readouterr().err.split())

    assert "which pixels are to be filled, with --mask" in refused(one, "-o", tmp_path / "o.png")
    assert "a name that ends in .png" in refused(one, "--mask", mask, "-o", tmp_path / "o.jpg")
    assert "5 × 8 pixels, and the pictures are 8 × 8" in refused(one, "--mask", small, "-o", tmp_path / "o.png")
    assert "--point is of tables" in refused(one, "--mask", mask, "-o", tmp_path / "o.png", "--point", "mean")
    assert "exists already" in refused(one, "--mask", mask, "-o", tmp_path / "there.png")
    assert "a name without .png" in refused(tmp_path, "--mask", mask, "-o", tmp_path / "o.png")
    assert "no picture" in refused(tmp_path / "none.png", "--mask", mask, "-o", tmp_path / "o.png")


@pytest.mark.parametrize(
    ("recipe", "words", "said"),
    [
        ("digits", (), "train a diffusion model with --set model.roles=true"),
        ("digits", ("model.roles=true",), "was trained with loss.known_share=0"),
        ("digits-ladder", (), "likelihood"),
    ],
)
def test_models_that_cannot_say_what_to_train(recipe, words, said: str, tmp_path: Path) -> None:
    brief = [w for word in ("steps=1", *words) for w in ("--set", word)]
    assert command("train", recipe, "--out", tmp_path / "run", *brief) == 0
    with pytest.raises(vlb.UserError, match=said):
        vlb.impute(tmp_path / "run", DIGITS, mask=np.ones((8, 8)))


@pytest.mark.parametrize("recipe", ["digits-vae", "digits-hvae-top-down", "digits-hvae-bottom-up"])
def test_hierarchies_fill_pictures_and_say_how_far_they_can_be_trusted(recipe: str, tmp_path: Path) -> None:
    assert command("train", recipe, "--out", tmp_path / "run", "--set", "steps=1") == 0
    hole = np.zeros((2, 8, 8), bool)
    hole[0, :2] = True
    found = vlb.impute(tmp_path / "run", DIGITS[:2], ImputeOptions(draws=2), mask=hole)
    assert (found.x[:, 1] == DIGITS[1]).all() and (found.x[:, 0, :, 2:] == DIGITS[0, :, 2:]).all()
    assert found.x.max() < 17 and (found.x[0] != found.x[1]).any()
    assert "16 pixels of 2 pictures filled, in 2 draws, by 128 weighted draws of the latents" in found.words
    again = vlb.impute(tmp_path / "run", DIGITS[:2], ImputeOptions(draws=1), mask=hole)
    assert np.array_equal(again.x[0], found.x[0])


def test_a_table_takes_no_mask(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "x,y\nu,v\n" * 20)
    brief = ("--set", "steps=1")
    assert command("train", "discrete-table", "--data", tmp_path / "t.csv", "--out", tmp_path / "r", *brief) == 0
    with pytest.raises(vlb.UserError, match="leave it out"):
        vlb.impute(tmp_path / "r", tmp_path / "t.csv", mask=np.ones((8, 8)))
    (tmp_path / "g.csv").write_text("b,a\ny,\n,u\n,\n")
    assert command("impute", tmp_path / "r", tmp_path / "g.csv", "-o", tmp_path / "o.csv") == 0
    assert (tmp_path / "o.csv").read_text().splitlines()[0] == "b,a"
    assert all(set(line.split(",")) <= set("xyuv") for line in (tmp_path / "o.csv").read_text().splitlines()[1:])


def test_a_device_is_of_pictures_and_one_that_is_not_here_is_said(run: Path, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "x.npy", DIGITS[:1])
    np.save(tmp_path / "mask.npy", np.eye(8))
    given = ("impute", run, tmp_path / "x.npy", "--mask", tmp_path / "mask.npy")
    assert command(*given, "-o", tmp_path / "usual.npy") == 0
    assert command(*given, "-o", tmp_path / "cpu.npy", "--device", "cpu") == 0
    assert np.array_equal(np.load(tmp_path / "usual.npy"), np.load(tmp_path / "cpu.npy"))
    assert command(*given, "-o", tmp_path / "no.npy", "--device", "abacus") == 2
    assert "there is no device 'abacus' here" in capsys.readouterr().err
    with pytest.raises(UserError, match="tables are filled on the CPU"):
        vlb.impute("vlb:iris", tmp_path / "t.csv", device="meta")

"""A rehearsal: a kind of data that vlb has never seen – sequences of counts, in files of their own kind – goes through
every verb by the schema and the registries alone.

What it needs: a module for its format and a line in `FORMATS` (data/formats), a function and a line in `SOURCES`
(data/sources.py), a recipe. No model, measure, code or page is touched.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vlb
from vlb.base.errors import UserError
from vlb.coding import api
from vlb.core.layouts import Wave
from vlb.core.schema import levels_schema
from vlb.data import Dataset, Split, formats, sources
from vlb.data.formats.base import Content, Declined, File, Member
from vlb.generate.options import SampleOptions
from vlb.measure.options import EvaluateOptions, ScoreOptions
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.kinds import AnyLoss, AnyModel
from vlb.models.mixture.config import Mixture
from vlb.models.mixture.loss import MixtureLoss
from vlb.models.vae.config import VAE
from vlb.models.vae.loss import ElboLoss
from vlb.nn.mlp import MLP
from vlb.store.experiment import DataSource, Experiment, Training

LENGTH, LEVELS = 12, 5


class Beats:
    """A count and a length, then sequences of bytes; whatever follows is a remark."""

    freedom: str | None = None

    def recognises(self, name: str, head: Content) -> bool:
        return bytes(head[:5]) == b"BEATS"

    def read(self, content: Content) -> File:
        if len(content) < 9:
            raise Declined("sequences that are cut short")
        count, length = struct.unpack_from("<HH", content, 5)
        if len(content) < 9 + count * length:
            raise Declined("sequences that are cut short")
        values = np.frombuffer(content, np.uint8, count * length, 9).reshape(count, 1, length)
        return File((Member("", values),), bytes(content[9 + count * length :]))

    def write(self, file: File) -> bytes:
        values = file.members[0].values
        return b"BEATS" + struct.pack("<HH", len(values), values.shape[-1]) + values.tobytes() + file.rest

    def same(self, one: Content, other: Content) -> bool:
        return one == other


def beats(path: Path | None = None) -> Dataset:
    """Walks that stay where they are or go one up or down."""
    steps = np.random.default_rng(0).integers(-1, 2, (500, 1, LENGTH))
    x = np.clip(2 + steps.cumsum(-1), 0, LEVELS - 1).astype(np.uint8)
    return Dataset("beats", levels_schema((1, LENGTH), LEVELS), Split(x[:300]), Split(x[300:400]), Split(x[400:]))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The lines that the registries of formats and of sets would have."""
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, Beats()))
    monkeypatch.setattr(api, "FORMATS", formats.FORMATS)
    monkeypatch.setattr(sources, "SOURCES", {**sources.SOURCES, "beats": beats})
    yield


KINDS: dict[str, tuple[AnyModel, AnyLoss]] = {
    "mixture": (Mixture(components=3, em_steps=10), MixtureLoss()),
    "vae": (VAE(latents=4), ElboLoss()),
    "diffusion": (Diffusion(backbone=MLP(width=16, blocks=1)), DiffusionLoss()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_data_goes_through_every_verb(kind: str, registered: None, tmp_path: Path) -> None:
    model, loss = KINDS[kind]
    steps = Training(steps=20, batch=32, warmup=1, validate_every=10, checkpoint_every=10, learning_rate=1e-3)
    experiment = Experiment(recipe="digits", data=DataSource(name="beats"), model=model, loss=loss, training=steps)
    run = vlb.train(experiment, out=tmp_path / "run").run
    assert isinstance(run.schema.layout, Wave) and run.schema.levels == LEVELS

    result = vlb.evaluate(run, "test", EvaluateOptions(passes=2))
    assert f"{LEVELS} levels" in result.kind and result.dimensions == LENGTH

    x = vlb.sample(run, SampleOptions(n=8, steps=8 if kind == "diffusion" else None)).x
    assert x.shape[1:] == (1, LENGTH) and int(x.max()) < LEVELS

    given = Beats().write(File((Member("", beats().test.x),), b"and a remark"))
    (tmp_path / "a.beats").write_bytes(given)
    scored = vlb.score(run, tmp_path / "a.beats", ScoreOptions(passes=2, draws=2))
    assert len(scored.columns["nats"]) == len(beats().test)
    (tmp_path / "short.beats").write_bytes(given[:-200])
    with pytest.raises(UserError, match=r"short\.beats cannot be read: sequences that are cut short"):
        vlb.score(run, tmp_path / "short.beats")

    done = vlb.compress(run, [tmp_path / "a.beats"], tmp_path / "a.vlb")
    assert done.summary.examples == 100 and not done.summary.reencoded
    vlb.decompress(tmp_path / "a.vlb", tmp_path / "out", run=run.path)
    assert (tmp_path / "out" / "a.beats").read_bytes() == given

    page = vlb.report(run).path.read_text()
    assert "bits/dim" in page

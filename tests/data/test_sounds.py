"""Recordings become windows: of one split each, all samples but the ends, and what is wrong with a file is said."""

import struct
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vlb
from vlb.base.errors import UserError
from vlb.data.baselines import per_example
from vlb.data.formats import rests
from vlb.data.formats.base import File, Member
from vlb.data.formats.wav import Style, Wav, sound, to_mu_law
from vlb.data.given import load_examples
from vlb.data.prompts import RATE, chirps
from vlb.data.recordings import read_recording
from vlb.data.sounds import Windows, cut, load_sounds
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.preconditioned import Preconditioned
from vlb.nn.unet import UNet
from vlb.store.experiment import DataSource, Experiment, Training
from vlb.store.runs import Run

SMALL = Windows(window=64)


def folder_of(path: Path, count: int = 12, length: int = 1000, rate: int = RATE) -> Path:
    """Chirps, the beginnings of them, one after another a little shorter."""
    path.mkdir(parents=True, exist_ok=True)
    for i, (name, x) in enumerate(chirps(count).items()):
        (path / name.name).write_bytes(sound(x[:, 3000 : 3000 + length - i].T.copy(), rate))
    return path


@given(st.lists(st.integers(1, 300), min_size=1, max_size=5), st.integers(1, 3), st.integers(1, 70), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_windows_are_the_sounds_but_their_ends(lengths: list[int], channels: int, window: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sounds = [rng.integers(0, 1 << 16, (channels, length), dtype=np.uint16) for length in lengths]
    found = cut(sounds, window)
    assert len(found.x) * window + found.over == sum(lengths)
    for x, whole, start in zip(found.x, found.whole, found.start, strict=True):
        assert np.array_equal(x, sounds[whole][:, start : start + window])
    assert set(found.short) == {i for i, length in enumerate(lengths) if length < window}


def test_a_recording_is_in_one_split(tmp_path: Path) -> None:
    data = load_sounds(folder_of(tmp_path / "a"), SMALL)
    wholes = [
        set(split.whole.tolist()) for split in (data.train, data.validation, data.test) if split.whole is not None
    ]
    assert sum(map(len, wholes)) == len(set.union(*wholes)) == 12
    assert data.schema.levels == 1 << 16 and data.shape == (1, 64)
    assert any("make no whole window" in remark for remark in data.remarks)


def test_folders_that_are_splits(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 2), ("validation", 3)):
        folder_of(tmp_path / "a" / split, count)
    data = load_sounds(tmp_path / "a", SMALL)
    assert [len(set(s.whole.tolist())) for s in (data.train, data.validation, data.test) if s.whole is not None] == [
        4, 3, 2,
    ]  # fmt: skip


def test_folders_are_classes_and_links_are_said(tmp_path: Path) -> None:
    """Of windows as of their recordings, below splits, too, and of recordings for a trained model."""
    for split, count in (("train", 3), ("test", 2), ("validation", 2)):
        for name in ("low", "high"):
            folder_of(tmp_path / "a" / split / name, count)
    (tmp_path / "a" / "test" / "low" / "again.wav").symlink_to(tmp_path / "a" / "test" / "low" / "chirp-000.wav")
    data = load_sounds(tmp_path / "a", SMALL)
    assert data.schema.labels == ("high", "low")
    for split, recordings in ((data.train, 6), (data.test, 5)):
        assert split.labels is not None and split.whole is not None
        assert len({*zip(split.whole.tolist(), split.labels.tolist(), strict=True)}) == recordings
    assert any("links, taken as what they lead to: 1 (test/low/again.wav)" in remark for remark in data.remarks)
    given_ = load_examples(tmp_path / "a" / "test", data.schema)
    assert given_.split.labels is not None and data.test.labels is not None
    assert np.bincount(given_.split.labels).tolist() == np.bincount(data.test.labels).tolist()
    assert any("links" in note for note in given_.notes)
    folder_of(tmp_path / "a" / "train", 1)
    mixed = load_sounds(tmp_path / "a", SMALL)
    assert mixed.schema.labels is None and any("folders are no classes" in remark for remark in mixed.remarks)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a")
    first = sorted(folder.iterdir())[0]
    whole = first.read_bytes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("no sound")
    with pytest.raises(UserError, match=r"holds no recordings.*other files \(\.txt\): 1"):
        load_sounds(tmp_path / "empty", SMALL)
    with pytest.raises(UserError, match="is not there"):
        load_sounds(tmp_path / "nowhere", SMALL)
    first.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"chirp-000\.wav cannot be read: it is cut short.*--skip-damaged"):
        load_sounds(folder, SMALL)
    data = load_sounds(folder, Windows(window=64, skip_damaged=True))
    assert any("damaged files: 1 (chirp-000.wav)" in str(reason) for reason in data.left_out)
    with pytest.raises(UserError, match=r"chirp-000\.wav cannot be read") as refused:
        load_examples(folder, data.schema)
    assert "--skip-damaged" not in str(refused.value)  # an option of training alone
    for content, words in (
        (sound(np.zeros((500, 1), np.uint16), 16_000), "at 16,000 Hz"),
        (sound(np.zeros((500, 2), np.uint16), RATE), "stereo"),
        (sound(np.zeros((500, 1), np.uint8), RATE, mu_law=True), "8-bit µ-law"),
    ):
        first.write_bytes(content)
        with pytest.raises(UserError, match=f"recordings differ.*{words}"):
            load_sounds(folder, SMALL)
    deep = File((Member("", np.zeros((500, 1), np.uint32)),), rests.pack(Style(RATE), b""))
    first.write_bytes(Wav().write(deep))
    with pytest.raises(UserError, match="samples of 32 bits, and a model has at most 16,777,216 levels"):
        load_sounds(folder, SMALL)
    first.write_bytes(whole[:20] + struct.pack("<H", 3) + whole[22:])
    with pytest.raises(UserError, match="floating-point samples"):
        load_sounds(folder, SMALL)
    with pytest.raises(UserError, match="no recording of the train split is as long as a window of 5,000"):
        first.write_bytes(whole)
        load_sounds(folder, Windows(window=5000))


def test_silence_and_short_recordings_are_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a")
    (folder / "quiet.wav").write_bytes(sound(np.full((500, 1), 1 << 15, np.uint16), RATE))
    (folder / "short.wav").write_bytes(sound(np.full((3, 1), 7, np.uint16), RATE))
    remarks = " · ".join(load_sounds(folder, SMALL).remarks)
    assert "silent throughout: 2 (" in remarks and "shorter than a window: 1 (short.wav)" in remarks


def test_flac_is_what_wav_is(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    x = chirps(1)[PurePath("chirp-000.wav")]
    (tmp_path / "a.wav").write_bytes(sound(x.T.copy(), RATE))
    soundfile.write(tmp_path / "a.flac", (x.T ^ (1 << 15)).view(np.int16), RATE, subtype="PCM_16")
    one, other = (read_recording(tmp_path / name) for name in ("a.wav", "a.flac"))
    assert one.manner == other.manner and np.array_equal(one.values, other.values)
    (tmp_path / "b.flac").write_bytes((tmp_path / "a.flac").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"b\.flac.* cut short"):
        read_recording(tmp_path / "b.flac")
    deep = np.random.default_rng(0).integers(0, 1 << 24, (100, 2), dtype=np.uint32)
    deep[:2] = [[0, 1], [(1 << 24) - 1, 1 << 23]]
    (tmp_path / "c.wav").write_bytes(sound(deep, RATE))
    assert len((tmp_path / "c.wav").read_bytes()) == 44 + 600
    soundfile.write(tmp_path / "c.flac", ((deep ^ (1 << 23)) << 8).view(np.int32), RATE, subtype="PCM_24")
    one, other = (read_recording(tmp_path / name) for name in ("c.wav", "c.flac"))
    assert one.manner == other.manner and str(one.manner) == "24-bit stereo at 8,000 Hz"
    assert np.array_equal(one.values, deep.T) and np.array_equal(other.values, deep.T)
    eight = np.arange(256, dtype=np.uint8)[:, None]
    soundfile.write(tmp_path / "d.flac", (eight.astype(np.int32) - 128) << 24, RATE, subtype="PCM_S8")
    assert np.array_equal(read_recording(tmp_path / "d.flac").values, eight.T)


def test_sound_of_another_kind_is_no_example(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a")
    schema = load_sounds(folder, SMALL).schema
    given_ = load_examples(folder, schema)
    assert len(given_.names) == len(given_.split.x) and given_.names[1].endswith("from 0.008 s")
    for rate, words in ((RATE * 2, "at 16,000 Hz, and the model is of 16-bit mono at 8,000 Hz"),):
        with pytest.raises(UserError, match=words):
            load_examples(folder_of(tmp_path / "b", rate=rate), schema)


def trained(folder: Path, out: Path, mu_law: bool) -> Run:
    """A little network of one axis, after a few steps."""
    experiment = Experiment(
        recipe="sound",
        data=DataSource(name="sound", path=str(folder), window=32, mu_law=mu_law),
        model=Diffusion(backbone=UNet(widths=(4,), attention=(False,)), head=Preconditioned(components=3)),
        training=Training(steps=4, batch=8, warmup=1, validate_every=4, checkpoint_every=4),
    )
    return vlb.train(experiment, out=out).run


@pytest.mark.parametrize("mu_law", [False, True])
def test_files_of_any_length_come_back(mu_law: bool, tmp_path: Path) -> None:
    run = trained(folder_of(tmp_path / "a", 4, 200), tmp_path / "run", mu_law)
    result = vlb.sample(run, vlb.SampleOptions(n=2, steps=2))
    (tmp_path / "s.wav").write_bytes(result.as_wavs()[0])
    heard = read_recording(tmp_path / "s.wav")
    assert np.array_equal(heard.values, result.x[0]) and heard.manner.mu_law == mu_law

    lengths = {"long.wav": 100, "exact.wav": 64, "short.wav": 31, "none.wav": 0}
    files = {name: sound(chirp(length, mu_law), RATE, mu_law) for name, length in lengths.items()}
    files["odd.wav"] = files["long.wav"] + b"LIST\4\0\0\0said"
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).write_bytes(content)
    done = vlb.compress(run, [tmp_path / "in"], tmp_path / "a.vlb", vlb.CompressOptions(effort="fast"))
    assert done.summary.examples == 3 + 2 + 3
    assert any("short.wav: 31 samples, where a window of the model has 32" in note for note in done.summary.notes)
    vlb.decompress(tmp_path / "a.vlb", tmp_path / "out", run=run.path)
    for name, content in files.items():
        assert (tmp_path / "out" / "in" / name).read_bytes() == content


def test_sound_of_24_bits(tmp_path: Path) -> None:
    """From files to bounds, samples and archives, to the byte."""
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    for number in range(6):
        x = (1 << 23) + np.rint(rng.normal(0, 2e4, (200 + number, 2)).cumsum(0)).astype(np.int64)
        (tmp_path / "a" / f"{number}.wav").write_bytes(sound(x.clip(0, (1 << 24) - 1).astype(np.uint32), RATE))
    run = trained(tmp_path / "a", tmp_path / "run", False)
    assert run.schema.levels == 1 << 24 and run.schema.dtype == np.uint32
    found = vlb.evaluate(run, options=vlb.EvaluateOptions(passes=2))
    assert np.isfinite(found.evaluation.totals).all() and 23 < found.baselines["independent_pixels"] < 25
    result = vlb.sample(run, vlb.SampleOptions(n=2, steps=2))
    (tmp_path / "s.wav").write_bytes(result.as_wavs()[0])
    heard = read_recording(tmp_path / "s.wav")
    assert np.array_equal(heard.values, result.x[0]) and heard.manner.levels == 1 << 24
    done = vlb.compress(run, [tmp_path / "a"], tmp_path / "a.vlb", vlb.CompressOptions(effort="fast"))
    assert done.summary.examples == 6 * 6
    vlb.decompress(tmp_path / "a.vlb", tmp_path / "out", run=run.path)
    for file in (tmp_path / "a").iterdir():
        assert (tmp_path / "out" / "a" / file.name).read_bytes() == file.read_bytes()


def test_independent_samples_are_counted_alike_listed_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_sounds(folder_of(tmp_path / "a"), SMALL)
    listed = per_example("independent-pixels", data, data.test)
    monkeypatch.setattr("vlb.data.baselines.MOST_LISTED", 256)
    np.testing.assert_allclose(per_example("independent-pixels", data, data.test), listed, rtol=1e-12)


@pytest.mark.slow
def test_sound_is_measured_and_reported_on(tmp_path: Path) -> None:
    run = trained(folder_of(tmp_path / "a", 6, 400), tmp_path / "run", False)
    assert vlb.evaluate(run, "test", vlb.EvaluateOptions(passes=2)).dimensions == 32
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.wav").write_bytes(sound(chirp(100, False), RATE))
    assert len(vlb.score(run, tmp_path / "s").columns["nats"]) == 3
    page = vlb.report(run).path.read_text()
    assert page.count('src="data:audio/wav;base64,') == 2 and 'src="http' not in page


def chirp(length: int, mu_law: bool) -> np.ndarray:
    """The middle of one, (length, 1)."""
    x = chirps(1)[PurePath("chirp-000.wav")][:, 3000 : 3000 + length].T.copy()
    return to_mu_law(x) if mu_law else x

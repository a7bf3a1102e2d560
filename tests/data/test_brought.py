"""Pictures with other pixels: the same file but for these, in every kind that is written."""

import io
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vlb.base.errors import UserError
from vlb.core.schema import Schema, levels_schema
from vlb.data.brought import ITSELF, brought, rewritten, suffixes
from vlb.data.formats.base import File, Member
from vlb.data.formats.png import Png
from vlb.data.pictures import read_picture

RANDOM = np.random.default_rng(0)
SCHEMAS = {"1": levels_schema((1, 5, 4), 2), "L": levels_schema((1, 5, 4), 256), "RGB": levels_schema((3, 5, 4), 256)}


def pixels(schema: Schema, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, schema.levels, schema.shape).astype(np.uint8)


def saved(path: Path, mode: str, x: np.ndarray, **how) -> Path:
    image = Image.fromarray((x[0] * (255 if mode == "1" else 1)) if len(x) == 1 else x.transpose(1, 2, 0))
    image.convert(mode).save(path, **how)
    return path


@pytest.mark.parametrize("mode", SCHEMAS)
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm"])
def test_a_picture_gets_other_pixels_and_keeps_its_kind(mode: str, suffix: str, tmp_path: Path) -> None:
    schema = SCHEMAS[mode]
    path = saved(tmp_path / f"a{suffix}", mode, pixels(schema))
    found = brought(path, schema)
    assert np.array_equal(found.x[0], pixels(schema)) and found.notes == ()
    assert found.written(found.x, suffix)[ITSELF] == path.read_bytes() or suffix == ".png"  # whose deflate is free
    new = pixels(schema, 1)
    (tmp_path / f"b{suffix}").write_bytes(found.written(new[None], suffix)[ITSELF])
    again = read_picture(tmp_path / f"b{suffix}")
    assert np.array_equal(again.values, new) and again.levels == read_picture(path).levels
    with Image.open(path) as one, Image.open(tmp_path / f"b{suffix}") as other:
        assert one.mode == other.mode and one.format == other.format


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=st.sampled_from([1, 2, 4, 8]),
    height=st.integers(1, 9),
    width=st.integers(1, 17),
    interlaced=st.booleans(),
    text=st.text(st.characters(codec="latin-1", exclude_characters="\0"), max_size=20),
    seed=st.integers(0, 99),
)
def test_depth_and_texts_of_a_png_stay(tmp_path: Path, bits, height, width, interlaced, text, seed: int) -> None:
    random = np.random.default_rng(seed)
    old, new = random.integers(0, 1 << bits, (2, height, width)).astype(bool if bits == 1 else np.uint8)
    info, stream = PngInfo(), io.BytesIO()
    info.add_text("Comment", text)
    Image.fromarray(old if bits == 1 else old << (8 - bits)).save(stream, "PNG", pnginfo=info)
    full = Png().read(stream.getvalue())
    rest = full.rest
    if bits in (2, 4) or interlaced:
        said = {"bits": bits} if bits in (2, 4) else {}
        kept = rest.partition(b"\n")[2]
        head = (
            b"{"
            + b",".join(
                [b'"%s":%d' % (name.encode(), value) for name, value in said.items()]
                + ([b'"interlaced":true'] if interlaced else [])
                + [b'"before":%d' % len(kept)]
            )
            + b"}"
        )
        rest = head + b"\n" + kept
    (tmp_path / "a.png").write_bytes(Png().write(File((Member("", old),), rest)))
    schema = levels_schema((1, height, width), 1 << bits)
    found = brought(tmp_path / "a.png", schema)
    assert np.array_equal(found.x[0, 0], old)
    content = found.written(new.astype(np.uint8)[None, None], ".png")[ITSELF]
    own = Png().read(content)
    assert own.rest == Png().read((tmp_path / "a.png").read_bytes()).rest and np.array_equal(own.members[0].values, new)


def test_palettes_and_lossy_kinds_become_plain_pictures(tmp_path: Path) -> None:
    schema = SCHEMAS["RGB"]
    x = pixels(schema)
    image = Image.fromarray(x.transpose(1, 2, 0))
    image.quantize(8).save(tmp_path / "p.png")
    image.save(tmp_path / "j.jpg")
    for name, said in (("p.png", "a palette or are packed: 1"), ("j.jpg", "")):
        found = brought(tmp_path / name, schema)
        assert said in "".join(found.notes)
        (tmp_path / "o.png").write_bytes(found.written(found.x, ".png")[ITSELF])
        assert np.array_equal(read_picture(tmp_path / "o.png").values, read_picture(tmp_path / name).values)
    assert suffixes(tmp_path / "j.jpg") == (".png",) and suffixes(tmp_path / "p.png") == (".png",)
    with pytest.raises(UserError, match=r"not as \.jpg"):
        rewritten(tmp_path / "j.jpg", x, ".jpg")
    found = brought(tmp_path, schema)
    assert set(found.written(found.x, "")) == {PurePath("j.png"), PurePath("o.png"), PurePath("p.png")}
    assert any("become .png (the first j.jpg)" in note for note in found.notes)
    image.save(tmp_path / "p.jpg")
    with pytest.raises(UserError, match=r"two pictures would be written as p\.png"):
        brought(tmp_path, schema)


def test_folders_in_folders_keep_their_names(tmp_path: Path) -> None:
    schema = SCHEMAS["L"]
    (tmp_path / "in" / "deep").mkdir(parents=True)
    saved(tmp_path / "in" / "deep" / "b.bmp", "L", pixels(schema, 1))
    saved(tmp_path / "in" / "a.png", "L", pixels(schema, 2))
    found = brought(tmp_path / "in", schema)
    written = found.written(found.x[::-1], "")
    for name, x in zip(found.names, found.x[::-1], strict=True):
        (tmp_path / name.name).write_bytes(written[name])
        assert np.array_equal(read_picture(tmp_path / name.name).values, x)


@settings(derandomize=True, deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=st.sampled_from(["HW", "CHW", "nHW", "nCHW", "nHWC"]),
    dtype=st.sampled_from(["u1", "i2", "<i8", ">i4", "f4", "f8"]),
    fortran=st.booleans(),
    n=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
)
def test_an_array_comes_back_in_its_layout_type_and_order(tmp_path, layout, dtype, fortran, n, channels: int) -> None:
    channels = channels if "C" in layout else 1
    schema = levels_schema((channels, 5, 6), 7)
    old, new = np.random.default_rng(n).integers(0, 7, (2, n if "n" in layout else 1, channels, 5, 6))

    def laid(x: np.ndarray) -> np.ndarray:
        shapes = {"HW": x[0, 0], "CHW": x[0], "nHW": x[:, 0], "nCHW": x, "nHWC": x.transpose(0, 2, 3, 1)}
        return np.array(shapes[layout].astype(dtype), order="F" if fortran else "C")

    np.save(tmp_path / "a.npy", laid(old))
    np.save(tmp_path / "b.npy", laid(new))
    for source in (tmp_path / "a.npy", laid(old)):
        found = brought(source, schema)
        assert np.array_equal(found.x, old) and found.x.dtype == np.uint8
        written = found.written(new.astype(np.uint8), ".npy")[ITSELF]
        assert np.array_equal(np.load(io.BytesIO(written)), laid(new))
        assert np.load(io.BytesIO(written)).dtype == laid(new).dtype
    assert brought(tmp_path / "a.npy", schema).written(new, ".npy")[ITSELF] == (tmp_path / "b.npy").read_bytes()


def test_what_is_no_picture_of_the_model_is_refused_by_name(tmp_path: Path) -> None:
    schema = SCHEMAS["L"]

    def refused(source: object, schema: Schema = schema) -> str:
        with pytest.raises(UserError) as caught:
            brought(source, schema)
        return str(caught.value)

    assert "no picture at" in refused(tmp_path / "none.png")
    (tmp_path / "t.csv").write_text("1,2\n")
    assert "t.csv is no picture" in refused(tmp_path / "t.csv")
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    assert "d.png is no readable image" in refused(tmp_path / "d.png")
    (tmp_path / "d.npy").write_bytes(b"no array")
    assert "d.npy cannot be read" in refused(tmp_path / "d.npy")
    assert "of 4 × 5 pixels in 1 channel" in refused(saved(tmp_path / "w.png", "L", np.zeros((1, 4, 4), np.uint8)))
    assert "of 4 × 5 pixels" in refused(np.zeros((2, 3, 5, 4), np.uint8))
    few = saved(tmp_path / "v.png", "L", np.full((1, 5, 4), 200, np.uint8))
    assert "holds 200, outside 0..16" in refused(few, levels_schema((1, 5, 4), 17))
    one = saved(tmp_path / "1.png", "1", pixels(SCHEMAS["1"]))
    assert "is of 2 levels, and the model of 256" in refused(one)
    assert "not a whole number" in refused(np.full((5, 4), 0.5))

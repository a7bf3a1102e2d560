"""Meshes and scans: points evenly on surfaces, solids of known volumes, and what is wrong with files."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vlb
from vlb.base.errors import UserError
from vlb.data import load
from vlb.data.given import load_examples
from vlb.data.meshes import Damaged, points_of, read_shape, solid
from vlb.data.points import load_points
from vlb.data.volumes import SIDE, load_volumes
from vlb.training.options import TrainOptions
from vlb.training.recipes import recipe
from vlb.training.verb import adjust

trimesh = pytest.importorskip("trimesh")

BOX = np.array([2.0, 1.0, 0.5])


def box(path: Path, extents: np.ndarray = BOX) -> Path:
    """A box about the origin, in the format of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.creation.box(extents).export(path)
    return path


def folder_of(folder: Path, count: int, suffix: str = ".off") -> Path:
    for number in range(count):
        box(folder / f"{number:02}{suffix}", BOX * (1 + 0.1 * number))
    return folder


@pytest.mark.parametrize("suffix", [".off", ".obj", ".ply"])
def test_points_are_evenly_on_a_mesh(suffix: str, tmp_path: Path) -> None:
    """Of a box: each pair of faces has its share of the area, 5.5 standard errors (4e-8 each); the same points for the
    same mesh wherever it lies, and others for others."""
    path = box(tmp_path / f"x{suffix}")
    x = points_of(read_shape(path), 4000, path)
    on = np.isclose(np.abs(x), BOX / 2, atol=1e-6)
    assert (np.abs(x) <= BOX / 2 + 1e-6).all() and on.any(1).all()
    areas = BOX.prod() / BOX
    share = areas / areas.sum()
    assert (np.abs(on.mean(0) - share) < 5.5 * np.sqrt(share * (1 - share) / 4000)).all()
    again = box(tmp_path / "elsewhere" / f"y{suffix}")
    assert np.array_equal(points_of(read_shape(again), 4000, again), x)
    assert not np.array_equal(points_of(read_shape(path), 10, path), x[:10] * 1.1)


def test_a_scan_is_a_cloud(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("f4")
    trimesh.PointCloud(x).export(tmp_path / "x.ply")
    shape = read_shape(tmp_path / "x.ply")
    assert shape.faces is None and np.array_equal(shape.vertices, x)
    assert np.array_equal(points_of(shape, 50, tmp_path), x)
    with pytest.raises(Damaged, match="has 50 points, fewer than the 51"):
        points_of(shape, 51, tmp_path)
    with pytest.raises(Damaged, match="a scan of points has no inside"):
        solid(shape, 8, tmp_path)


@pytest.mark.parametrize("suffix", [".off", ".ply"])
def test_files_that_are_cut_short_are_refused(suffix: str, tmp_path: Path) -> None:
    """At every length: never fewer vertices or faces than the file says."""
    path = box(tmp_path / f"x{suffix}")
    content = path.read_bytes()
    for length in range(0, len(content.rstrip()) - 1, 7):
        path.write_bytes(content[:length])
        try:
            shape = read_shape(path)
        except Damaged as error:
            assert str(path) in str(error)
        else:  # the last number of the text has lost a digit, which nobody can know
            assert shape.faces is not None and len(shape.faces) == 12 and len(shape.vertices) == 8


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    for name, content, words in (
        ("a.obj", "# nothing\n", "has no vertices: it is empty, or no mesh"),
        ("a.off", "", "is empty: export it again"),
        ("b.obj", "v 0 0 0\nv 1 1 1\nv 0 1 nan\nf 1 2 3\n", r"vertex 2 is \[0\.0, 1\.0, nan\], no place"),
        ("c.obj", "v 0 0 0\nv 1 inf 1\nv 0 1 1\nf 1 2 3\n", r"vertex 1 is \[1\.0, inf"),
        ("d.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "cannot be read|vertices that it does not have"),
        ("e.off", "OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "is cut short: 2 faces are promised, 1 follow"),
        ("f.ply", "ply\nformat ascii 1.0\nelement vertex 3\n", "cannot be read"),
        ("g.ply", "\x00\x01\x02", "cannot be read"),
        ("h.off", "OFF\n0 0 0\n", "cannot be read|no vertices"),
    ):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(Damaged, match=words) as raised:
            read_shape(path)
        assert str(path) in str(raised.value)
    flat = tmp_path / "flat.off"
    flat.write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    with pytest.raises(Damaged, match="faces of no area"):
        points_of(read_shape(flat), 5, flat)
    with pytest.raises(Damaged, match="faces of no area"):
        solid(read_shape(flat), 8, flat)
    with pytest.raises(UserError, match="is a single shape: give the folder"):
        load_points(box(tmp_path / "one.off"))


@given(st.sampled_from([".off", ".obj", ".ply"]), st.data())
@settings(max_examples=80, deadline=None)
def test_hostile_files_are_refused_in_a_sentence(suffix: str, data: st.DataObject) -> None:
    """Bytes of a whole file changed, or any bytes: a shape with finite vertices and faces of these, or `UserError`."""
    exported = trimesh.creation.box(BOX).export(file_type=suffix[1:])
    content = bytearray(exported if isinstance(exported, bytes) else exported.encode())
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)
    ):
        content[place] = byte
    if data.draw(st.booleans()):
        content = bytearray(data.draw(st.binary(max_size=200)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        path.write_bytes(bytes(content))
        try:
            shape = read_shape(path)
            cloud = points_of(shape, 4, path)
        except UserError as error:
            assert "x." in str(error)
        else:
            assert np.isfinite(shape.vertices).all() and cloud.shape == (4, 3) and np.isfinite(cloud).all()


def test_without_trimesh_a_command_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    (tmp_path / "x.off").write_text("OFF\n")
    with pytest.raises(UserError, match=r"x\.off: meshes are read by trimesh: pip install 'vlb\[meshes\]'"):
        load_points(tmp_path)


def test_meshes_are_clouds_and_said(tmp_path: Path) -> None:
    data = load_points(folder_of(tmp_path / "x", 5), 30)
    assert data.shape == (30, 3) and len(data.train) == 3
    assert any("of the surfaces of 5 meshes 30 points each" in remark for remark in data.remarks)
    assert load_points(tmp_path / "x").shape == (256, 3)
    found = load_examples(tmp_path / "x" / "00.off", data.schema)
    assert found.split.x.shape == (1, 30, 3) and found.names
    (tmp_path / "x" / "bad.ply").write_text("ply")
    with pytest.raises(UserError, match=r"bad\.ply cannot be read .*--skip-damaged"):
        load_points(tmp_path / "x", 30)
    again = load("points", tmp_path / "x", cut=vlb.data.sources.Cutting(number=30, skip_damaged=True))
    assert again.fingerprint == data.fingerprint and again.left_out[0].count == 1


def test_solids_have_the_volumes_of_meshes(tmp_path: Path) -> None:
    """What the surface touches is in it: between the volume of the mesh and that of it grown by a voxel."""
    for name, mesh in (("box", trimesh.creation.box(BOX)), ("ball", trimesh.creation.icosphere(3))):
        path = tmp_path / f"{name}.ply"
        mesh.export(path)
        x = solid(read_shape(path), SIDE, path)
        voxel = mesh.extents.max() / (SIDE - 1)
        grown = mesh.volume + 2 * voxel * mesh.area
        assert mesh.volume <= x.sum() * voxel**3 <= grown
        assert x.shape == (SIDE,) * 3 and x.any((1, 2)).sum() == round(mesh.extents[2] / voxel) + 1
        assert x[SIDE // 2, SIDE // 2, SIDE // 2]


def test_volumes_of_meshes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", 4, ".ply")
    (folder / "scan.ply").write_bytes(b"")
    with pytest.raises(UserError, match="--skip-damaged leaves such files out"):
        load_volumes(folder)
    data = load_volumes(folder, skip_damaged=True)
    assert data.shape == (1, SIDE, SIDE, SIDE) and data.levels == 2 and data.left_out[0].count == 1
    assert any("4 meshes as 32×32×32 voxels" in remark for remark in data.remarks)
    (folder / "scan.ply").unlink()
    given = load_examples(folder, data.schema)
    assert given.split.x.shape == (4, *data.shape) and given.names == ("00.ply", "01.ply", "02.ply", "03.ply")
    assert math.isclose(given.split.x.mean(), np.concatenate([data.train.x, data.validation.x, data.test.x]).mean())
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no meshes"):
        load_volumes(tmp_path / "none")


def test_options_are_of_their_recipes() -> None:
    with pytest.raises(UserError, match="--points is of clouds"):
        adjust(recipe("digits"), TrainOptions(points=5), None)
    assert adjust(recipe("clouds"), TrainOptions(points=5), None).data.points == 5
    with pytest.raises(UserError, match="--skip-damaged is of recordings, clouds, meshes"):
        adjust(recipe("clouds"), TrainOptions(skip_damaged=True), None)
    assert load("clouds", cut=vlb.data.sources.Cutting(number=5)).shape == (5, 3)

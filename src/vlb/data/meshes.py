"""Meshes and scans, .off, .obj and .ply, by trimesh (extra): points of their surfaces, and voxels within."""

import hashlib
import re
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vlb.base.errors import UserError
from vlb.data.contents import content_of

SUFFIXES = (".obj", ".off", ".ply")
HEADS = {".off": re.compile(rb"\s*(?:[A-Z4n]*OFF)?\s*(\d+)\s+(\d+)"), ".ply": re.compile(rb"element\s+(\w+)\s+(\d+)")}


LARGEST = 1e100


class Damaged(UserError):
    """A cloud or a mesh that cannot be read, or has none of what it should have."""


class Shape(NamedTuple):
    """vertices: (v, 3) float64, finite; faces: (f, 3) of them, None of a scan, which is points alone."""

    vertices: np.ndarray
    faces: np.ndarray | None


def read_shape(path: Path) -> Shape:
    """A mesh or a scan. Nothing but the file is opened: no materials, no pictures. Raises `Damaged`, naming the file,
    for one that cannot be read, is cut short, has no vertices or some that are no numbers, and `UserError` where
    trimesh is not there."""
    try:
        import trimesh
    except ImportError as error:
        raise UserError(f"{path}: meshes are read by trimesh: pip install 'vlb[meshes]'") from error
    suffix = path.suffix.lower()
    try:
        content = bytes(content_of(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not content.strip():
        raise Damaged(f"{path} is empty: export it again")
    extra: dict[str, Any] = {"skip_materials": True} if suffix == ".obj" else {}
    try:
        found: Any = trimesh.load(BytesIO(content), file_type=suffix[1:], process=False, **extra)
        if isinstance(found, trimesh.Scene):
            parts = [part for part in found.dump() if isinstance(part, trimesh.Trimesh | trimesh.PointCloud)]
            meshes = [part for part in parts if isinstance(part, trimesh.Trimesh)]
            found = trimesh.util.concatenate(meshes) if meshes else next(iter(parts), None)
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory") from error
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise Damaged(f"{path} cannot be read ({type(error).__name__}: {error}): export it again") from error
    vertices = np.asarray(getattr(found, "vertices", np.zeros((0, 3))), np.float64)
    faces = np.asarray(getattr(found, "faces", np.zeros((0, 3))), np.int64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices):
        raise Damaged(f"{path} has no vertices: it is empty, or no mesh")
    promised = _promised(suffix, content)
    for what, count in (("vertices", len(vertices)), ("faces", len(faces))):
        if count < promised.get(what, 0):
            raise Damaged(f"{path} is cut short: {promised[what]:,} {what} are promised, {count:,} follow")
    if not (there := are_places(vertices).all(1)).all():
        row = int(np.flatnonzero(~there)[0])
        raise Damaged(f"{path}: vertex {row} is {vertices[row].tolist()}, no place: remove it")
    if faces.size and not (faces.min() >= 0 and faces.max() < len(vertices)):
        raise Damaged(f"{path} has faces of vertices that it does not have")
    return Shape(vertices, faces if len(faces) else None)


def are_places(x: np.ndarray) -> np.ndarray:
    """Which coordinates are numbers with a square that is one, bool."""
    there: np.ndarray = np.abs(x) <= LARGEST  # not of NaN
    return there


def points_of(shape: Shape, number: int, path: Path) -> np.ndarray:
    """So many points (number, 3) of a shape: evenly by area on its faces, or of the points of a scan. The same ones for
    the same shape, wherever it lies. Raises `Damaged` for faces without area, and as `some_of`."""
    if shape.faces is None:
        return some_of(shape.vertices, number, str(path))
    import trimesh

    mesh = trimesh.Trimesh(shape.vertices, shape.faces, process=False)
    if not (np.isfinite(mesh.area) and mesh.area > 0):
        raise Damaged(f"{path} has faces of no area: there is no surface to take points from")
    seed = seed_of(shape.vertices, shape.faces)
    found: np.ndarray = np.asarray(trimesh.sample.sample_surface(mesh, number, seed=seed)[0], np.float64)
    return found


def some_of(cloud: np.ndarray, number: int, what: str) -> np.ndarray:
    """So many of the points (n, d) of a cloud in their order, drawn without replacement, the same ones for the same
    cloud. Raises `Damaged` where there are too few."""
    if len(cloud) < number:
        raise Damaged(
            f"{what} has {len(cloud)} points, fewer than the {number} of a cloud: leave it out, or train with "
            f"--points {len(cloud)}"
        )
    if len(cloud) == number:
        return cloud
    index = np.random.default_rng(seed_of(cloud)).choice(len(cloud), number, replace=False)
    return cloud[np.sort(index)]


def seed_of(*arrays: np.ndarray) -> int:
    """A function of what is in arrays alone."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return int.from_bytes(digest.digest()[:8], "big")


def _promised(suffix: str, content: bytes) -> dict[str, int]:
    """How many vertices and faces a file says that it has; empty where it says nothing."""
    if suffix == ".off":
        plain = re.sub(rb"#[^\n]*", b"", content[:4096])
        head = HEADS[suffix].match(plain)
        return {} if head is None else {"vertices": int(head[1]), "faces": int(head[2])}
    if suffix == ".ply":
        head_part = content[: max(0, content.find(b"end_header"))]
        counts = {name: int(count) for name, count in HEADS[suffix].findall(head_part)}
        return {"vertices": counts.get(b"vertex", 0), "faces": counts.get(b"face", 0)}
    return {}


def solid(shape: Shape, side: int, path: Path) -> np.ndarray:
    """A mesh as voxels (side, side, side) bool, as large as it fits and in the middle, its last axis first, which
    points up: those that its surface touches, and those within. Raises `Damaged` for a scan, and for a mesh without
    extent."""
    if shape.faces is None:
        raise Damaged(f"{path} has no faces: a scan of points has no inside; train the recipe points")
    import trimesh

    extent = float(np.ptp(shape.vertices, 0).max())
    if not (np.isfinite(extent) and extent > 0):
        raise Damaged(f"{path} has faces of no extent: there is nothing within")
    middle = (shape.vertices.max(0) + shape.vertices.min(0)) / 2
    unit: Any = trimesh.Trimesh((shape.vertices - middle) / extent, shape.faces, process=False)
    if not unit.area > 0:
        raise Damaged(f"{path} has faces of no area: it has no surface, and nothing within")
    found = unit.voxelized(1 / (side - 1)).fill().matrix
    x = np.zeros((side, side, side), bool)
    within = found[tuple(slice(0, side) for _ in range(3))]
    starts = [(side - size) // 2 for size in within.shape]
    x[tuple(slice(start, start + size) for start, size in zip(starts, within.shape, strict=True))] = within
    return np.ascontiguousarray(x.transpose(2, 1, 0))

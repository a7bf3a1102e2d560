"""Walks of folders: whatever is there is a file, an empty folder, or left out with a reason."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base.errors import UserError
from vlb.base.files import written_new
from vlb.base.walk import gather, reasons, walk

NAMES = st.sampled_from([b"a", b"b", b".hidden", b"Train", b"\xff\xfe", "é".encode(), b"x.png", b".a.abcd1234.part"])
KINDS = st.sampled_from(["file", "folder", "pipe", "broken", "link", "link to folder"])
TREES = st.dictionaries(st.tuples(NAMES, NAMES), KINDS, max_size=12)


def grow(root: Path, tree: dict[tuple[bytes, bytes], str]) -> None:
    """One folder per first name, in it what is said under the second."""
    (root / "target").mkdir()
    (root / "target" / "inside").write_bytes(b"1")
    for (first, second), kind in tree.items():
        path = root / "in" / os.fsdecode(first) / os.fsdecode(second)
        path.parent.mkdir(exist_ok=True)
        if kind == "file":
            path.write_bytes(b"0")
        elif kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(root / {"broken": "nowhere", "link": "target/inside", "link to folder": "target"}[kind])


@given(tree=TREES)
@settings(derandomize=True, deadline=None)
def test_nothing_vanishes(tree: dict[tuple[bytes, bytes], str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place, "in").mkdir()
        grow(Path(place), tree)
        found = walk(Path(place, "in"))
        files, empty, links = set(found.files), set(found.empty_folders), set(found.links)
        out = {left.path for left in found.left_out}
        assert len(files) == len(found.files)
        for (first, second), kind in tree.items():
            name = Path(os.fsdecode(first), os.fsdecode(second))
            part = b".part"
            if first.endswith(part):
                assert os.fsdecode(first) in out
            elif second.endswith(part) or kind in ("pipe", "broken"):
                assert str(name) in out
            elif kind == "folder":
                assert name in empty
            else:
                assert (name / "inside" if kind == "link to folder" else name) in files
                assert (name in links) == (kind != "file")
        assert sum(reason.count for reason in reasons(found.left_out)) == len(found.left_out)
        gathered = gather([Path(place, "in")])
        assert len(gathered.files) == len(files) and len(gathered.left_out) == len(found.left_out) + len(empty)


def test_a_link_that_leads_round_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "round").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="round is a link that leads back"):
        walk(tmp_path)
    (tmp_path / "a" / "b" / "round").unlink()
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    with pytest.raises(UserError, match=r"cannot read .*itself"):
        walk(tmp_path)


def test_what_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "secret")  # root may read everything
    with pytest.raises(UserError, match=r"cannot read .*secret"):
        walk(tmp_path)
    with pytest.raises(UserError, match=r"cannot read .*missing"):
        walk(tmp_path / "missing")


def test_what_is_being_written_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"")
    with written_new(tmp_path / "out.vlb") as temporary:
        temporary.write_bytes(b"half")
        found = walk(tmp_path)
    assert [str(file) for file in found.files] == ["kept"]
    assert [left.why for left in found.left_out] == ["unfinished files of vlb"]

"""Files are whole or not there."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.disk import no_file_beyond
from vlb.base.errors import UserError
from vlb.base.files import abandoned, is_part, made_new, write_bytes, write_new, written_new, written_whole


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with no_file_beyond(4096), pytest.raises(UserError, match="nothing was changed"):
        write_bytes(path, bytes(10_000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no/where"):
        write_bytes(tmp_path / "no" / "where", b"")


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """A file, a folder, and a link to nothing: in the beginning, and where it appears meanwhile."""
    makers: tuple[Callable[[Path], object], ...] = (Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere"))
    for number, make in enumerate(makers):
        path = tmp_path / str(number)
        with pytest.raises(UserError, match="exists already"), written_new(path) as temporary:
            temporary.write_bytes(b"late")
            make(path)
        with pytest.raises(UserError, match="exists already"):
            write_new(path, b"later")
        assert not path.is_file() or path.read_bytes() == b""
    assert len(list(tmp_path.iterdir())) == len(makers)


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_new(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    with pytest.raises(UserError, match="exists already"), written_new(tmp_path / "other") as temporary:
        temporary.write_bytes(b"late")
        (tmp_path / "other").write_bytes(b"first")
    assert (tmp_path / "other").read_bytes() == b"first"


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), made_new(tmp_path / "a") as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with made_new(tmp_path / "a") as folder:
        (folder / "whole").touch()
    with pytest.raises(UserError, match="exists already"), made_new(tmp_path / "a") as folder:
        (folder / "other").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["whole"]


RACE = """
import sys
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from vlb.base.errors import UserError
from vlb.base.files import abandoned, is_part, made_new, write_bytes, write_new, written_new, written_whole
try:
    with (made_new if sys.argv[2] == "folder" else written_new)(Path(sys.argv[1])) as temporary:
        (temporary / "content" if sys.argv[2] == "folder" else temporary).write_text(sys.argv[3])
        print("ready", flush=True)
        sys.stdin.readline()
except UserError as error:
    sys.exit(f"{error}")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_writers_of_one_name_one_has_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(path), kind, str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(8)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate()[1] for process in started]
    won = [number for number, process in enumerate(started) if process.returncode == 0]
    assert len(won) == 1
    assert (path / "content" if kind == "folder" else path).read_text() == str(won[0])
    lost = [said for number, said in enumerate(ended) if number not in won]
    assert all("exists already" in said for said in lost), lost
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path, other = tmp_path / "out", tmp_path / "other"
    killed = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(name), "file", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name in (path, path, other)
    ]
    for process in killed:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    killed[0].kill()
    killed[0].communicate()
    assert len(list(tmp_path.iterdir())) == 3
    write_bytes(path, b"content")
    assert sorted(name.name.split(".")[1] for name in tmp_path.iterdir() if is_part(name.name)) == ["other", "out"]
    for process in killed[1:]:
        process.kill()
        process.communicate()
    assert len(abandoned(tmp_path)) == 2


def test_writers_that_replace_do_not_take_each_other_for_abandoned(tmp_path: Path) -> None:
    """Locks belong to open files, so threads stand for processes."""
    path = tmp_path / "out"

    def write(number: int) -> None:
        for _ in range(40):
            write_bytes(path, bytes([number]) * 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(set(path.read_bytes())) == 1 and path.stat().st_size == 100
    assert list(tmp_path.iterdir()) == [path]

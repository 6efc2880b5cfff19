"""Files are written whole or not at all."""

import errno
import os
import stat

import pytest

from davidnet_callbacks import atomic, atomic_write


def test_the_content_appears_under_the_name(tmp_path):
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_temporary_file_has_the_folder_and_suffix_of_the_target(tmp_path):
    with atomic_write(tmp_path / "model.keras") as temporary:
        temporary.touch()
        assert temporary.parent == tmp_path.resolve()
        assert temporary.suffix == ".keras"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_content_and_leaves_nothing_behind(tmp_path, failure):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(failure), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise failure
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_nothing_is_left_behind_when_the_target_is_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError), atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real/a.txt")
    with atomic_write(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real/a.txt").read_text() == "new"


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "a") as temporary:
        temporary.touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_rename_is_on_disk_before_the_block_is_over(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(atomic.os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    with atomic_write(tmp_path / "a") as temporary:
        temporary.touch()
    assert synced == [(tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino]


def test_a_file_system_that_cannot_sync_folders_is_no_error(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a").read_text() == "x"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a.b.csv") as temporary:
        temporary.write_text("half")
        kept = temporary.name
        raise KeyboardInterrupt
    others = {".hidden", "a.0123456789ab.csv", ".a.0123.csv", ".a.0123456789ab.csv.mine.txt"}
    for name in (kept, ".a.0123456789ab", *others):
        (tmp_path / name).write_text("x")
    atomic.remove_leftovers(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == others

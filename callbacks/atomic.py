"""Write a file whole or not at all."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}(\.[^.]+)?")


def file_path(path: str | os.PathLike) -> Path:
    """The path of a file, with `~` for the home folder; ValueError for an empty one or a folder."""
    expanded = os.path.expanduser(os.fspath(path))
    if not expanded or os.path.isdir(expanded):
        raise ValueError(f"Name a file, not a folder. Received: path={path!r}")
    return Path(expanded)


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to; move it to `path` once it is complete and on disk.

    Whoever reads `path` sees the old content or the new, never a part. If the block raises, or is interrupted, `path`
    is unchanged and the temporary file removed.

    Args:
        path: the file, in an existing folder; `~` is the home folder. Of a symbolic link, the target is replaced.

    Yields:
        The path of a file that does not exist yet, in the same folder, with the same suffix.

    Example:
        with atomic_write("result.json") as temporary:
            temporary.write_text("{}")
    """
    target = Path(os.path.realpath(os.path.expanduser(path)))  # of a link, the file it points to
    # Same folder: a rename is atomic only within a file system. Same suffix: many writers choose the format by it.
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())  # else a power cut could leave the new name on an empty file
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder):
    """Put a rename in a folder on disk before anything that is written later."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(handle)


def remove_leftovers(folder):
    """Remove what a killed `atomic_write` left in a folder, to which no other process may be writing."""
    for entry in Path(folder).iterdir():
        if TEMPORARY.fullmatch(entry.name) and entry.is_file():
            entry.unlink()

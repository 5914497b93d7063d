"""Writing a file whole or not at all, so that a power cut leaves the old one or the new one under its name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Open a new file for writing that takes the path's place at the end of the block, durably.

    Content and folder are on disk when the block is left. When it raises, the path is as it was and nothing is left
    behind. The folder must exist. The temporary file stands beside `path` and its name begins with a dot and ends
    in ".new"; a link at that name is never followed.

    Raises:
        OSError: the file cannot be written.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".new", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Bring the folder's names to disk: without it, a rename or a new file may be gone after a power cut.

    Raises:
        OSError: the folder cannot be opened. File systems that cannot sync a folder are left to themselves.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # NFS and FUSE may answer EINVAL
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

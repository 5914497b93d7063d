"""Who may look into the state folder: its owner alone, whatever the umask of the process and the modes from before are."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_OURS = ("ledger.db", "service.lock", "spool", "frigate-copy.db", ".s3_", ".doctor-")
"""What the names in a state folder begin with, when nobody else uses it."""


def make_private_folder(folder: Path) -> None:
    """Make the folder for its owner alone. One that others use, too, keeps its mode.

    Raises:
        OSError: it is not there and cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # someone else's: then its owner decides
        if all(path.name.startswith(_OURS) for path in folder.iterdir()):
            _tighten(folder, 0o700)


def make_private_file(path: Path) -> None:
    """Make an empty file for its owner alone, or take the others' rights of the one that is there.

    Raises:
        OSError: it is not there and cannot be made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    tighten(path)


def tighten(path: Path) -> None:
    """Take the others' rights of a file that may be there."""
    with contextlib.suppress(OSError):
        _tighten(path, 0o600)


def _tighten(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)

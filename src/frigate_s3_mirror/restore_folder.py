"""The folder that `restore` writes into: whole files only, nothing outside of it, nothing through a symbolic link.

The folder itself may be a link, since the user named it. What lies below may be somebody else's work.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from frigate_s3_mirror.runtime.atomic_write import atomic_write

_MODE = 0o644  # pictures for whoever looks at the folder


class RefusedTargetError(Exception):
    """Nothing may be written there; the text is a sentence's end."""


class _NotKeptError(Exception):
    """The file that was written is not wanted."""


class RestoreFolder:
    """Files below one folder, by names with slashes. Methods raise RefusedTargetError or OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> None:
        """Make the folder itself."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return where the file is, after a look at each folder above it."""
        parts = PurePosixPath(name).parts
        if not parts or any(part in {".", "..", "/"} for part in parts):
            raise RefusedTargetError("its name leads out of the folder")
        path = self._folder
        for part in parts[:-1]:
            path /= part
            self._check_folder(path)
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise RefusedTargetError(f"{path} leads out of {self._folder}")
        return path / parts[-1]

    def holds(self, name: str) -> bool:
        """Return whether the file is there; what is there and is no file is refused."""
        path = self.path(name)
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISLNK(mode):
            raise RefusedTargetError(f"{path} is a symbolic link")
        if not stat.S_ISREG(mode):
            raise RefusedTargetError(f"{path} is no file")
        return True

    @contextlib.contextmanager
    def writing(self, name: str, modified_at: float) -> Iterator[tuple[BinaryIO, Callable[[], None]]]:
        """Give a new file and a call that says that it is good; without that call nothing is left of it.

        It takes its name at the end of the block, with this modification time (unix seconds).
        """
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path = self.path(name)  # the folders that were made are looked at like all others
        kept: list[bool] = []
        with contextlib.suppress(_NotKeptError), atomic_write(path, mode=_MODE) as file:
            yield file, lambda: kept.append(True)
            if not kept:
                raise _NotKeptError
            file.flush()  # before the time is set, which a later write would move
            os.utime(file.fileno(), (modified_at, modified_at))

    @staticmethod
    def _check_folder(path: Path) -> None:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise RefusedTargetError(f"{path} is a symbolic link")
        if not stat.S_ISDIR(mode):
            raise RefusedTargetError(f"{path} is no folder")

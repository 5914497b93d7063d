"""Whether a folder of Frigate's can be trusted: a share that is not mounted looks like a folder whose files are all gone."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path


class Folder(ABC):
    """Where files come from, and whether their absence means anything.

    Remembers that files were missing because the whole folder was; may be used from several threads.
    """

    trouble: str | None = None
    """Why files could not be found, as a sentence; a full scan comes back to them."""

    @abstractmethod
    def absence(self) -> str | None:
        """A sentence when no file can be had now."""

    def blame(self) -> str | None:
        """Asked when a file is missing: a sentence when that is the folder's fault, None when the file is gone."""
        problem = self.absence()
        self.trouble = problem or self.trouble
        return problem

    def is_back(self) -> bool:
        """Whether there was trouble and is none any more; true once."""
        if self.trouble is None or self.absence() is not None:
            return False
        self.trouble = None
        return True

    def problem(self) -> str | None:
        """What is wrong now, as a sentence."""
        return self.trouble


class DiskFolder(Folder):
    """A folder on this machine. An empty one by itself is no trouble: a new Frigate has one."""

    def __init__(self, path: Path, name: str = "clips folder", variable: str = "FRIGATE_CLIPS_DIR") -> None:
        self.path, self.name, self.variable = path, name, variable

    def absence(self) -> str | None:
        """See Folder."""
        problem = folder_problem(self.path, self.name, self.variable)
        if problem is None and not any(self.path.iterdir()):
            problem = f"Frigate's {self.name} {self.path} is empty; is its share mounted?"
        return problem

    def problem(self) -> str | None:
        """See Folder."""
        return folder_problem(self.path, self.name, self.variable) or self.trouble


def folder_problem(path: Path, name: str = "clips folder", variable: str = "FRIGATE_CLIPS_DIR") -> str | None:
    """A sentence when the folder cannot be used, else None."""
    try:
        with os.scandir(path):
            return None
    except OSError as error:
        return f"Frigate's {name} {path} cannot be read ({error.strerror}); check {variable}."

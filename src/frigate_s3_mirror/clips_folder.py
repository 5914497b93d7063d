"""Whether the clips folder can be trusted: a share that is not mounted looks like a folder whose files are all gone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def clips_dir_problem(clips_dir: Path) -> str | None:
    """A sentence when the clips folder cannot be used, else None."""
    try:
        with os.scandir(clips_dir):
            return None
    except OSError as error:
        return f"Frigate's clips folder {clips_dir} cannot be read ({error.strerror}); check FRIGATE_CLIPS_DIR."


@dataclass(slots=True)
class ClipsFolder:
    """Remembers that files were missing because the whole folder was.

    An empty folder by itself is no trouble: a new Frigate has one.
    """

    path: Path
    trouble: str | None = None
    """Why files could not be found, as a sentence; a full scan comes back to them."""

    def blame(self) -> str | None:
        """Asked when a file is missing: a sentence when the folder is unreadable or empty, None when the file is gone."""
        problem = self._absence()
        self.trouble = problem or self.trouble
        return problem

    def is_back(self) -> bool:
        """Whether there was trouble and is none any more; true once."""
        if self.trouble is None or self._absence() is not None:
            return False
        self.trouble = None
        return True

    def problem(self) -> str | None:
        """What is wrong now, as a sentence."""
        return clips_dir_problem(self.path) or self.trouble

    def _absence(self) -> str | None:
        problem = clips_dir_problem(self.path)
        if problem is None and not any(self.path.iterdir()):
            problem = f"Frigate's clips folder {self.path} is empty; is its share mounted?"
        return problem

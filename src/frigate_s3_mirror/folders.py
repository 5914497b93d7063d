"""Whether a folder of Frigate's can be trusted: a share that is not mounted looks like a folder whose files are all gone."""

from __future__ import annotations

import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TypeAlias

from frigate_s3_mirror.events import FrigateError

_DATE = re.compile(r"\d{4}-\d\d-\d\d")  # the recordings folder has one for each day

Identity: TypeAlias = tuple[int, int]
"""Device and inode: another one under the same path means that something was mounted, unmounted or replaced."""


class Folder(ABC):
    """Where files come from, and whether their absence means anything.

    Remembers that files were missing because the whole folder was; may be used from several threads.
    """

    trouble: str | None = None
    """Why files could not be found, as a sentence; a full scan comes back to them."""
    name = ""
    """What people call it."""
    trusted: Identity | None = None
    """Its identity, where it was found to hold what it ought to when it was last looked at."""

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

    def inspect(self) -> None:
        """Look whether it holds what it ought to, though no file was missed: trouble is known before it does harm."""
        self.absence()

    def has_changed(self) -> bool:
        """Return whether it became another one since it was last asked about: what was missing may be there."""
        return False

    def problem(self) -> str | None:
        """What is wrong now, as a sentence."""
        return self.trouble


MADE_AT_START = frozenset({"cache", "export", "exports", "faces", "previews", "review", "thumbs", "train", "triggers"})
"""What Frigate makes anew at its start, in an empty mount point, too: proves that it was there, not that its files are."""
_PICTURE_ENDINGS = (".jpg", ".png", ".webp", ".mp4")
_FEWEST = 4
"""Fewer missing files than this are told apart from a missing share by device and inode alone."""
_KNOWN_SECONDS = 2.0
"""How long what was seen counts: with thousands of files gone, not each of them needs a look of its own."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Of the files that ought to be in the folder, how many were looked for and how many are there."""

    looked_for: int
    found: int
    trusted: Identity | None = None
    """The folder's identity when it was last trusted; None when it never was."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for and against a folder being the one in which Frigate keeps its files."""

    identity: Identity
    expected: Expected
    is_empty: bool = False
    is_foreign: bool = False
    """Nothing of what is in it is Frigate's: no picture, and none of the folders that it makes at its start."""


class Doubt(Enum):
    """Why a folder is not trusted: the absence of a file in it says nothing about the file."""

    EMPTY = auto()
    FOREIGN = auto()
    CHANGED = auto()
    """Another folder lies under the path, and it lacks what was in the one before."""
    BARE = auto()
    """Most of the files that ought to be there are not."""


def doubt(evidence: Evidence) -> Doubt | None:
    """Decide whether a folder, asked about because a file is missing in it, is trusted (None).

    Retention, deleted events and rows that never had a file are normal, so single missing files prove nothing. Where the
    folder was never trusted, rows whose file never came are among the expected, so it has to lack more of them.
    """
    expected, trusted = evidence.expected, evidence.expected.trusted
    if evidence.is_empty:
        return Doubt.EMPTY
    if not expected.looked_for:
        return None
    share = expected.found / expected.looked_for
    if not expected.found and evidence.is_foreign:
        return Doubt.FOREIGN
    if trusted is not None and trusted != evidence.identity and share < 0.5:
        return Doubt.CHANGED
    if expected.looked_for >= _FEWEST and share < (0.5 if trusted is not None else 0.25):
        return Doubt.BARE
    return None


class DiskFolder(Folder):
    """A folder on this machine, judged by what ought to be in it.

    `expected` tells of files that ought to be there, given the folder's identity; it may raise FrigateError, and then
    nothing is known of them.
    """

    def __init__(
        self,
        path: Path,
        name: str = "clips folder",
        variable: str = "FRIGATE_CLIPS_DIR",
        expected: Callable[[Identity], Expected] = lambda _: Expected(0, 0),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.name, self.variable = path, name, variable
        self._expected, self._monotonic = expected, monotonic
        self._lock = threading.Lock()
        self._known: str | None = None
        self._known_of: tuple[Identity, int] | None = None
        """Of which folder that was known, and when that was last written to (nanoseconds)."""
        self._known_until = float("-inf")
        self._is_told_by_tables = False
        """Whether Frigate's tables had a say in it."""

    def absence(self) -> str | None:
        """See Folder."""
        with self._lock:
            now = self._now()
            if now is None or now != self._known_of or self._monotonic() >= self._known_until:
                self._known, self._known_of = self._judge(now[0] if now else None), now
                self._known_until = self._monotonic() + _KNOWN_SECONDS
            return self._known

    def inspect(self) -> None:
        """See Folder."""
        problem = self.absence()
        if problem is not None and self._is_told_by_tables:
            self.trouble = problem

    def problem(self) -> str | None:
        """See Folder."""
        return folder_problem(self.path, self.name, self.variable) or self.trouble

    def has_changed(self) -> bool:
        """See Folder; costs one system call."""
        now = self._now()
        return self._known_of is not None and now is not None and now[0] != self._known_of[0]

    def _judge(self, identity: Identity | None) -> str | None:
        self._is_told_by_tables = False
        problem = folder_problem(self.path, self.name, self.variable)
        if problem is not None or identity is None:
            return problem or f"Frigate's {self.name} {self.path} cannot be read; check {self.variable}."
        is_empty, is_foreign = _contents(self.path)
        try:
            expected = self._expected(identity)
        except FrigateError:
            expected = Expected(0, 0)
        found = doubt(Evidence(identity, expected, is_empty=is_empty, is_foreign=is_foreign))
        self._is_told_by_tables = expected.looked_for > 0
        self.trusted = identity if found is None and expected.found else None
        return None if found is None else self._sentence(found, expected)

    def _sentence(self, found: Doubt, expected: Expected) -> str:
        what = f"Frigate's {self.name} {self.path}"
        lacks = f"has {expected.found} of the newest {expected.looked_for} files that Frigate lists"
        match found:
            case Doubt.EMPTY:
                return f"{what} is empty; is its share mounted?"
            case Doubt.FOREIGN:
                return f"{what} holds nothing of Frigate's; is its share mounted, and {self.variable} right?"
            case Doubt.CHANGED:
                return f"{what} is another folder than before and {lacks}; is its share mounted?"
            case Doubt.BARE:
                return f"{what} {lacks}; is its share mounted, and {self.variable} right?"

    def _now(self) -> tuple[Identity, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return (status.st_dev, status.st_ino), status.st_mtime_ns


def _contents(path: Path) -> tuple[bool, bool]:
    """Return whether the folder is empty, and whether it holds nothing of Frigate's. Reads no further than it must."""
    is_empty = True
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                is_empty = False
                if entry.name in MADE_AT_START or entry.name.endswith(_PICTURE_ENDINGS) or _DATE.fullmatch(entry.name):
                    return False, False
    except OSError:
        return False, False
    return is_empty, not is_empty


def folder_problem(path: Path, name: str = "clips folder", variable: str = "FRIGATE_CLIPS_DIR") -> str | None:
    """A sentence when the folder cannot be used, else None."""
    try:
        with os.scandir(path):
            return None
    except OSError as error:
        return f"Frigate's {name} {path} cannot be read ({error.strerror}); check {variable}."

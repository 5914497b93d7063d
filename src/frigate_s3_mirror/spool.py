"""Keeps what S3 could not take at the first try, so that Frigate may delete it: hard links where the file system allows,
else copies.

It owns one folder, bounded in size. When that is full, the newest go first: Frigate keeps those longest by itself, while
the oldest are what its retention deletes next.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path
from urllib.parse import quote, unquote

from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import parse_file_name
from frigate_s3_mirror.ledger import time_of_id
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.sources import (
    Files,
    SourceRefusedError,
    SourceUnreachableError,
    SourceVanishedError,
    open_source,
)

FOLDER_NAME = "spool"
_COPY_BYTES = 1024 * 1024


class Spool:
    """The folder with pictures that wait for S3; its methods may be called from several threads."""

    def __init__(self, folder: Path, pictures: Files, limit_bytes: int) -> None:
        self.folder = folder
        self._pictures = pictures
        self._limit = limit_bytes
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def open(self) -> None:
        """Take stock of what is there from before."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as files:
            for file in files:
                if file.name.endswith(".new"):
                    Path(file.path).unlink(missing_ok=True)
                else:
                    self._sizes[file.name] = file.stat().st_size

    @property
    def sources(self) -> list[str]:
        """What is kept, as paths below the clips folder."""
        with self._lock:
            return [unquote(name) for name in self._sizes]

    @property
    def size_bytes(self) -> int:
        """How much is kept; a hard link costs nothing as long as Frigate has the file, too, but is counted."""
        return sum(self._sizes.values())

    def holds(self, source: str | None) -> bool:
        """Whether this source is kept."""
        return source is not None and kept_name(source) in self._sizes

    def keep(self, entry: Entry) -> bool:
        """Keep the entry's file; returns whether it is kept. What is not a file needs no keeping."""
        if not entry.source or ":" in entry.source:
            return True
        if self._limit == 0:
            return False
        with self._lock:
            if kept_name(entry.source) in self._sizes:
                return True
            try:
                return self._keep(entry.source)
            except (SourceVanishedError, SourceRefusedError, SourceUnreachableError):
                return False
            except OSError as error:
                self._tell_once(f"the spool folder {self.folder} cannot be written ({error.strerror})")
                return False

    def read(self, source: str) -> tuple[int, int]:
        """Open a kept file: a descriptor, to be closed by the caller, and its size. Raises SourceVanishedError."""
        if not self.holds(source):
            raise SourceVanishedError(source)
        return open_source(self.folder, kept_name(source))

    def drop(self, source: str | None) -> None:
        """S3 has it: keep it no longer."""
        if source is not None and self.holds(source):
            with self._lock:
                self._remove(kept_name(source))

    def _keep(self, source: str) -> bool:
        descriptor, size = self._pictures.open(source)
        try:
            if not self._make_room(source, size):
                self._tell_once(
                    f"the spool is full (S3_SPOOL_MAX is {self._limit} bytes); from now on some snapshots wait in Frigate's folder alone"
                )
                return False
            self.folder.mkdir(parents=True, exist_ok=True)
            target = self.folder / kept_name(source)
            if not _linked(self._pictures.path(source), target):
                _copy(descriptor, target)
        finally:
            os.close(descriptor)
        self._sizes[kept_name(source)] = size
        return True

    def _make_room(self, source: str, size: int) -> bool:
        """Remove newer ones until there is room; returns whether there is."""
        while self._sizes and self.size_bytes + size > self._limit:
            newest = max(self._sizes, key=_age_key)
            if _age_key(newest) <= _age_key(kept_name(source)):
                return False
            self._remove(newest)
        return size <= self._limit

    def _remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)
        self._sizes.pop(name, None)

    def _tell_once(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            logger().warning("S3 snapshot mirror: %s", sentence)


def kept_name(source: str) -> str:
    """The name of a source's file in the spool folder."""
    return quote(source, safe="")


def _age_key(name: str) -> float:
    """When the event of this file began, by its id."""
    source = unquote(name)
    parts = parse_file_name(source)
    return time_of_id(parts.event_id if parts else Path(source).stem, 0.0)


def _linked(path: Path | None, target: Path) -> bool:
    """Whether a hard link could be made; raises OSError when the disk is full."""
    if path is None:
        return False
    try:
        os.link(path, target, follow_symlinks=False)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        return False
    return True


def _copy(descriptor: int, target: Path) -> None:
    """Copy, whole or not at all."""
    partial = target.with_name(f"{target.name}.new")
    with partial.open("wb") as file:
        while chunk := os.read(descriptor, _COPY_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)

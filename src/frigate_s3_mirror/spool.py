"""Keeps what S3 could not take at the first try, so that Frigate may delete it: hard links where the file system allows,
else copies.

It owns one folder, bounded in size, and leaves room on its disk for the ledger. When there is no room, the newest go first:
Frigate keeps those longest by itself, while the oldest are what its retention deletes next.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import parse_file_name
from frigate_s3_mirror.ledger import time_of_id
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.atomic_write import atomic_write, sync_folder
from frigate_s3_mirror.sources import (
    Files,
    SourceRefusedError,
    SourceUnfinishedError,
    SourceUnreachableError,
    SourceVanishedError,
    open_source,
)

FOLDER_NAME = "spool"
_COPY_BYTES = 1024 * 1024
_RESERVE_BYTES = 64_000_000
_RESERVE_SHARE = 0.05
_GIVES_WAY_BYTES = 256_000
"""How much is given up at a time when the ledger has no room: a few of its pages, and as few pictures."""
_RECOUNT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Room:
    """How large a disk is, and how much of it may still be used."""

    total_bytes: int
    free_bytes: int

    @property
    def spare_bytes(self) -> int:
        """What the spool may take: all but a reserve for the ledger, which is smaller on a tiny disk. May be negative."""
        reserve = min(max(_RESERVE_BYTES, self.total_bytes * _RESERVE_SHARE), self.total_bytes / 4)
        return self.free_bytes - int(reserve)


def room_on_disk(folder: Path) -> Room:
    """Return the room on the folder's disk. Raises OSError."""
    status = os.statvfs(folder)
    return Room(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)


class Spool:
    """The folder with pictures that wait for S3; its methods may be called from several threads."""

    def __init__(
        self, folder: Path, pictures: Files, limit_bytes: int, room: Callable[[Path], Room] = room_on_disk
    ) -> None:
        self.folder = folder
        self._pictures = pictures
        self._limit = limit_bytes
        self._room = room
        self._sizes: dict[str, int] = {}
        self._costs: dict[str, int] = {}
        """What each would give back; nothing as long as Frigate has the same file."""
        self._counted_at = float("-inf")
        self._lock = threading.RLock()
        self._told: set[str] = set()

    def open(self) -> None:
        """Take stock of what is there from before."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as files:
            for file in files:
                if file.name.endswith(".new"):
                    Path(file.path).unlink(missing_ok=True)
                else:
                    self._sizes[file.name] = file.stat().st_size
        self._count()
        with contextlib.suppress(OSError):
            while self._sizes and self._room(self.folder).free_bytes < _GIVES_WAY_BYTES and self.give_way([]):
                pass  # the ledger could not even note that the service has started

    @property
    def sources(self) -> list[str]:
        """What is kept, as paths below the clips folder."""
        with self._lock:
            return [unquote(name) for name in self._sizes]

    @property
    def size_bytes(self) -> int:
        """How much disk is used; a hard link costs nothing as long as Frigate has the file, too."""
        with self._lock:
            return sum(self._costs.values())

    def holds(self, source: str | None) -> bool:
        """Whether this source is kept."""
        return source is not None and kept_name(source) in self._sizes

    def keep(self, entry: Entry) -> bool:
        """Keep the entry's file; returns whether it is kept. What is not a file needs no keeping."""
        return self.keep_all([entry]) == 1

    def keep_all(self, entries: Iterable[Entry]) -> int:
        """Keep the files of these entries, durably; returns how many are kept."""
        kept, links = 0, 0
        for entry in entries:
            if not entry.source or ":" in entry.source:
                kept += 1
            elif self._limit > 0:
                with self._lock:
                    is_new = kept_name(entry.source) not in self._sizes
                    is_kept = not is_new or self._try_to_keep(entry.source)
                kept += is_kept
                links += is_kept and is_new
        if links:
            try:
                sync_folder(self.folder)
            except OSError as error:
                self._tell_unwritable(error)
        return kept

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

    def give_way(self, acknowledged: Collection[str]) -> bool:
        """Make room for the ledger, which cannot be written; returns whether there is more room now.

        First goes what S3 has acknowledged and only the ledger does not know yet; then, while the disk lacks its reserve,
        what Frigate still has, and the newest, a few at a time.
        """
        with self._lock:
            self._count()
            freed = 0
            for name in [kept_name(source) for source in acknowledged if self.holds(source)]:
                freed += self._remove(name)
            if freed == 0 and self._sizes and self._room(self.folder).spare_bytes < 0:
                for name in sorted(self._newest_first(), key=self._is_only_here):
                    if freed >= _GIVES_WAY_BYTES:
                        break
                    freed += self._remove(name)
                if freed:
                    self._tell_once(
                        "the disk is full; the spool gives up its newest snapshots, so that the ledger has room"
                    )
        return freed > 0

    def _try_to_keep(self, source: str) -> bool:
        try:
            return self._keep(source)
        except (SourceVanishedError, SourceRefusedError, SourceUnreachableError):
            return False
        except OSError as error:
            self._tell_unwritable(error)
            return False

    def _keep(self, source: str) -> bool:
        descriptor, size = self._pictures.open(source)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            target = self.folder / kept_name(source)
            is_link = _linked(self._pictures.path(source), descriptor, target)
            if not is_link:
                if not self._make_room(source, size):
                    return False
                _copy(descriptor, size, source, target)
        finally:
            os.close(descriptor)
        self._sizes[target.name] = size
        self._costs[target.name] = 0 if is_link else size
        if is_link and not self._make_room(source, 0):
            self._remove(target.name)
            return False
        return True

    def _make_room(self, source: str, size: int) -> bool:
        """Remove newer ones, if that makes enough room; returns whether there is."""
        lacking = self._lacking(size)
        if lacking > 0 and self._is_count_old:
            self._count()
            lacking = self._lacking(size)
        age = _age_key(kept_name(source))
        newer = [name for name in self._newest_first() if _age_key(name) > age] if lacking > 0 else []
        if size > self._limit or lacking > sum(self._costs[name] for name in newer):
            self._tell_once(
                f"the spool is full (S3_SPOOL_MAX is {self._limit} bytes, and its disk keeps a reserve); "
                "from now on some snapshots wait in Frigate's folder alone"
            )
            return False
        for name in newer:
            if lacking <= 0:
                break
            lacking -= self._remove(name)
        return True

    def _lacking(self, size: int) -> int:
        """Bytes that are too many for the limit, or for the disk; a link (size 0) takes nothing of the disk now."""
        beyond_limit = sum(self._costs.values()) + size - self._limit
        return max(beyond_limit, size - self._room(self.folder).spare_bytes) if size else beyond_limit

    def _newest_first(self) -> list[str]:
        """Those that cost something."""
        return sorted((name for name, cost in self._costs.items() if cost), key=_age_key, reverse=True)

    def _is_only_here(self, name: str) -> bool:
        path = self._pictures.path(unquote(name))
        return path is None or not path.exists()

    @property
    def _is_count_old(self) -> bool:
        return time.monotonic() - self._counted_at > _RECOUNT_SECONDS

    def _count(self) -> None:
        """See which files Frigate has deleted: what is a link to nothing else costs its size."""
        self._counted_at = time.monotonic()
        for name, size in self._sizes.items():
            try:
                has_twin = (self.folder / name).stat().st_nlink > 1
            except OSError:
                has_twin = False
            self._costs[name] = 0 if has_twin else size

    def _remove(self, name: str) -> int:
        """Returns how many bytes that freed."""
        (self.folder / name).unlink(missing_ok=True)
        self._sizes.pop(name, None)
        return self._costs.pop(name, 0)

    def _tell_unwritable(self, error: OSError) -> None:
        self._tell_once(f"the spool folder {self.folder} cannot be written ({error.strerror})")

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


def _linked(path: Path | None, descriptor: int, target: Path) -> bool:
    """Whether a hard link to the open file could be made; raises OSError when the disk is full."""
    if path is None:
        return False
    try:
        os.link(path, target, follow_symlinks=False)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
        return False
    if os.path.samestat(os.fstat(descriptor), target.lstat()):
        return True
    target.unlink()  # another file took its name meanwhile, or lay there from before
    return False


def _copy(descriptor: int, size: int, source: str, target: Path) -> None:
    """Copy, whole or not at all, and durably. Raises OSError, or SourceUnfinishedError when it changed meanwhile."""
    before = os.fstat(descriptor)
    with atomic_write(target) as file:
        copied = 0
        while copied <= size and (chunk := os.read(descriptor, _COPY_BYTES)):
            copied += file.write(chunk)
        after = os.fstat(descriptor)
        if copied != size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceUnfinishedError(f"{source} is still being written.")

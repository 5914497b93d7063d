"""Finding and reading Frigate's files, safely: no links, nothing outside of their folder, nothing but files.

`Files` and `Pictures` are the port; here is the disk's side of it, `api_files` has the one of FRIGATE_SOURCE=api.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind

_FEW = 8
"""Looks that hold up the event loop less than a hop to a thread would."""
RECORDING = "recording:"
"""What the source of a segment begins with; its path below the recordings folder follows."""


_RECORDING = re.compile(r"(?:^|/)(\d{4}-\d\d-\d\d/\d\d/[a-zA-Z0-9_-]+/\d\d\.\d\d\.mp4)$")


class SourceVanishedError(Exception):
    """The file is not there any more."""


class SourceUnreachableError(Exception):
    """Frigate does not hand out its files now; the text is a sentence."""


class SourceUnreadableError(SourceUnreachableError):
    """This machine cannot read the file now (rights, limits, disks): no fault of the file's; the text is a sentence.

    `code` is the errno.
    """

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class SourceUnfinishedError(SourceUnreachableError):
    """The file is still being written; the text is a sentence."""


class SourceRefusedError(Exception):
    """The file must not be read; the text is a sentence's end that says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of an event: its path below the clips folder, and when it was last written (unix seconds)."""

    source: str
    modified_at: float
    size_bytes: int | None = None
    """None where finding does not tell."""
    is_link: bool = False
    """A symbolic link lies in its place, which is not followed."""


class Files(Protocol):
    """A folder of Frigate's, wherever it is; used from several threads."""

    def open(self, source: str) -> tuple[int, int]:
        """A file descriptor for reading, to be closed by the caller, and the file's size in bytes.

        Raises SourceVanishedError, SourceRefusedError or SourceUnreachableError.
        """

    def path(self, source: str) -> Path | None:
        """Where the file is on this machine, None when it is elsewhere."""


class Pictures(Files, Protocol):
    """The clips folder: snapshots, clean copies and thumbnails."""

    def find(self, event: Event, kind: Kind) -> Found | None:
        """The first candidate that exists, whatever it is (reading it decides whether it is acceptable).

        Raises FrigateError when Frigate cannot be asked.
        """

    async def look(self, events: Sequence[Event], kind: Kind) -> list[Found | None]:
        """The same for many, without holding up the event loop."""


def candidates(event: Event, kind: Kind) -> tuple[str, ...]:
    """Where versions 0.13 to 0.18 keep this kind, best first, as paths below the clips folder."""
    return candidates_of(event.camera, event.id, kind)


def candidates_of(camera: str, event_id: str, kind: Kind) -> tuple[str, ...]:
    """Return `candidates` of the event of this id.

    From 0.18 on the clean copy is the only picture, so it stands in for a snapshot that has no jpg.
    """
    stem = f"{camera}-{event_id}"
    match kind:
        case Kind.SNAPSHOT:
            return f"{stem}.jpg", f"{stem}-clean.webp", f"{stem}-clean.png"
        case Kind.CLEAN:
            return f"{stem}-clean.webp", f"{stem}-clean.png"
        case Kind.THUMBNAIL:
            return (f"thumbs/{camera}/{event_id}.webp",)
        case Kind.METADATA | Kind.CLIP:
            return ()


def recording_source(path: str) -> str | None:
    """Return where a segment lies below the recordings folder, wherever that is mounted; None for no path of Frigate's."""
    match = _RECORDING.search(path)
    return match[1] if match else None


class Listing:
    """What is in a folder on this machine: each of its directories is read once, when it is first asked for.

    For one pass over many names: a look-up costs no system call, however many of the names are not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, frozenset[str]] = {}

    def holds(self, source: str) -> bool:
        """Return whether a file of this name (a path below the folder) was there when its directory was read."""
        directory, _, name = source.rpartition("/")
        if directory not in self._names:
            try:
                self._names[directory] = frozenset(os.listdir(f"{self._folder}/{directory}"))  # noqa: PTH208  # 3 times as fast
            except OSError:
                self._names[directory] = frozenset()
        return name in self._names[directory]


class DiskFiles:
    """Files of a folder on this machine; see Files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, source: str) -> tuple[int, int]:
        """See Files."""
        return open_source(self._folder, source)

    def path(self, source: str) -> Path | None:
        """See Files."""
        return self._folder / source


class DiskPictures(DiskFiles):
    """The clips folder on this machine; see Pictures."""

    def find(self, event: Event, kind: Kind) -> Found | None:
        """See Pictures; takes microseconds."""
        for source in candidates(event, kind):
            try:
                status = os.lstat(f"{self._folder}/{source}")
            except OSError:
                continue
            return Found(source, status.st_mtime, status.st_size, stat.S_ISLNK(status.st_mode))
        return None

    async def look(self, events: Sequence[Event], kind: Kind) -> list[Found | None]:
        """See Pictures. Many are looked for in a thread: on a network share each look is a round trip."""
        if len(events) <= _FEW:
            return [self.find(event, kind) for event in events]
        return await asyncio.to_thread(lambda: [self.find(event, kind) for event in events])


def open_source(folder: Path, source: str) -> tuple[int, int]:
    """A file descriptor for reading, to be closed by the caller, and the file's size in bytes.

    Raises SourceVanishedError when there is no such file, SourceRefusedError for links, folders, pipes and empty files and
    for anything outside the folder, SourceUnreadableError when this machine cannot read it now.
    """
    path = f"{folder}/{source}"
    try:
        is_outside = "/" in source and not Path(path).resolve().is_relative_to(folder.resolve())
    except (ValueError, RuntimeError) as error:  # a NUL character; a circle of links, up to Python 3.12
        raise SourceRefusedError(f"{source!r} is no file's name and is refused") from error
    except OSError as error:
        raise unreadable(source, error) from error
    if is_outside:
        raise SourceRefusedError(f"{source} leads out of its folder and is refused")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise SourceRefusedError(f"{source!r} is no file's name and is refused") from error
    except OSError as error:
        raise unreadable(source, error) from error
    try:
        return descriptor, _size_of(descriptor, source)
    except BaseException:
        os.close(descriptor)
        raise


def _size_of(descriptor: int, source: str) -> int:
    """Raises SourceRefusedError for what is no file, and for an empty one."""
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        raise unreadable(source, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceRefusedError(f"{source} is not a file and is refused")
    if status.st_size == 0:
        raise SourceRefusedError(f"{source} is empty (0 bytes); Frigate never finished it")
    return status.st_size


_ADVICE: dict[int, str] = {
    errno.EACCES: "run the mirror as a user who may read Frigate's files",
    errno.EPERM: "run the mirror as a user who may read Frigate's files",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or lower S3_UPLOAD_THREADS",
    errno.ENFILE: "the machine's limit of open files is reached; raise fs.file-max",
    errno.ENOMEM: "this machine is out of memory; lower S3_UPLOAD_THREADS, or give it more",
    errno.EIO: "look at the disk and at the kernel's log",
    errno.ESTALE: "the share was lost; mount it again",
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the quota of the disk is used up; make room",
}
_LOST_CONNECTION = frozenset(
    {errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTCONN, errno.ECONNRESET}
)


def unreadable(source: str, error: OSError) -> SourceVanishedError | SourceRefusedError | SourceUnreadableError:
    """Say what an error of a file system means: that the file is gone, that it is none, or that this machine is in trouble.

    Only the first two are the file's own; everything else may be over in a moment.
    """
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return SourceVanishedError(source)
    if error.errno == errno.ELOOP:
        return SourceRefusedError(f"{source} is a symbolic link and is refused")
    if error.errno in {errno.ENXIO, errno.EISDIR, errno.ENODEV}:
        return SourceRefusedError(f"{source} is not a file and is refused")
    if error.errno == errno.ENAMETOOLONG:
        return SourceRefusedError(f"{source[:100]}... is longer than any file's name and is refused")
    advice = "the share does not answer; look at its server" if error.errno in _LOST_CONNECTION else ""
    advice = advice or _ADVICE.get(error.errno or 0, "look at the disk or share that it is on")
    said = (error.strerror or type(error).__name__).strip()
    return SourceUnreadableError(f"{source} cannot be read ({said}): {advice}.", error.errno or 0)


def file_digests(path: Path) -> tuple[str, str]:
    """SHA-256 and MD5 of a file, in hexadecimal. Raises OSError."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()

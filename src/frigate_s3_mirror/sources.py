"""Finding and reading an event's files in the clips folder, safely: no links, nothing outside, nothing but files."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind


class SourceVanishedError(Exception):
    """The file is not there any more."""


class SourceRefusedError(Exception):
    """The file must not or cannot be read; the text is a sentence's end that says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of an event: its path below the clips folder, and when it was last written (unix seconds)."""

    source: str
    modified_at: float


def candidates(event: Event, kind: Kind) -> tuple[str, ...]:
    """Where versions 0.13 to 0.18 keep this kind, best first, as paths below the clips folder.

    From 0.18 on the clean copy is the only picture, so it stands in for a snapshot that has no jpg.
    """
    stem = f"{event.camera}-{event.id}"
    match kind:
        case Kind.SNAPSHOT:
            return f"{stem}.jpg", f"{stem}-clean.webp", f"{stem}-clean.png"
        case Kind.CLEAN:
            return f"{stem}-clean.webp", f"{stem}-clean.png"
        case Kind.THUMBNAIL:
            return (f"thumbs/{event.camera}/{event.id}.webp",)
        case Kind.METADATA:
            return ()


def find(clips_dir: Path, event: Event, kind: Kind) -> Found | None:
    """The first candidate that exists, whatever it is (reading it decides whether it is acceptable)."""
    for source in candidates(event, kind):
        try:
            status = os.lstat(f"{clips_dir}/{source}")
        except OSError:
            continue
        return Found(source, status.st_mtime)
    return None


def open_source(clips_dir: Path, source: str) -> tuple[int, int]:
    """A file descriptor for reading, to be closed by the caller, and the file's size in bytes.

    Raises SourceVanishedError when there is no such file, SourceRefusedError for links, folders, pipes, unreadable and
    empty files, and for anything outside the clips folder.
    """
    path = f"{clips_dir}/{source}"
    if "/" in source and not Path(path).resolve().is_relative_to(clips_dir.resolve()):
        raise SourceRefusedError(f"{source} leads out of the clips folder and is refused")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise SourceVanishedError(source) from error
        if error.errno == errno.ELOOP:
            raise SourceRefusedError(f"{source} is a symbolic link and is refused") from error
        raise SourceRefusedError(f"{source} cannot be read ({error.strerror})") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise SourceRefusedError(f"{source} is not a file and is refused")
    if status.st_size == 0:
        os.close(descriptor)
        raise SourceRefusedError(f"{source} is empty (0 bytes); Frigate never finished it")
    return descriptor, status.st_size


def file_digests(path: Path) -> tuple[str, str]:
    """SHA-256 and MD5 of a file, in hexadecimal. Raises OSError."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()

"""What is sent for an entry: a file of Frigate's, a thumbnail out of its row, or a document made from what is known."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Filters, FrigateDatabase, FrigateError
from frigate_s3_mirror.keys import metadata_document
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.s3 import LARGE_BODY, PART
from frigate_s3_mirror.sending import Body
from frigate_s3_mirror.sources import (
    RECORDING,
    Files,
    SourceRefusedError,
    SourceUnfinishedError,
    SourceUnreachableError,
    SourceUnreadableError,
    SourceVanishedError,
    unreadable,
)
from frigate_s3_mirror.spool import Spool
from frigate_s3_mirror.upload.wholeness import EDGE_BYTES, looks_whole

ROW_THUMBNAIL = "row:thumbnail"
ROW_METADATA = "row:metadata"
PLAYLIST = "ledger:playlist"
WRITTEN_WITHIN_SECONDS = 30.0
"""How long after its last change a picture without its end counts as still being written; then it is sent as it is."""


class BodyReader:
    """Reads the content of entries; see sending.Reader."""

    def __init__(
        self,
        pictures: Files,
        recordings: Files,
        database_path: Path,
        spool: Spool,
        playlist: Callable[[str], bytes],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`playlist` makes the one of an event; `now` gives unix seconds."""
        self._pictures, self._recordings, self._playlist, self._now = pictures, recordings, playlist, now
        self._database_path, self._spool = database_path, spool

    def read(self, entry: Entry) -> Body:
        """Raises SourceVanishedError, SourceRefusedError or SourceUnreachableError; see sending.Reader."""
        match entry.source:
            case source if source == ROW_METADATA:
                return _body(metadata_document(entry.event))
            case source if source == ROW_THUMBNAIL:
                return _body(_thumbnail(entry.event.id, self._database_path))
            case source if source == PLAYLIST:
                return _body(self._playlist_of(entry.event.id))
        if not entry.event.is_named_safely:
            raise SourceRefusedError(
                f"its camera '{entry.event.camera}' or id '{entry.event.id}' is no name of Frigate's"
            )
        if entry.source is None:
            raise SourceRefusedError(f"no file of event {entry.event.id} was ever seen")
        return self._of_file(entry, entry.source)

    def _open(self, source: str) -> tuple[int, int, Path | None]:
        """Frigate's file, or what the spool kept of it: descriptor, size, and where it is on this machine."""
        if source.startswith(RECORDING):
            name = source.removeprefix(RECORDING)
            return *self._recordings.open(name), self._recordings.path(name)
        path = self._pictures.path(source)
        if self._spool.holds(source) and path is None:
            return *self._spool.read(source), None  # nearer than Frigate
        try:
            return *self._pictures.open(source), path
        except SourceVanishedError:
            return *self._spool.read(source), None

    def _of_file(self, entry: Entry, source: str) -> Body:
        descriptor, _, path = self._open(source)
        file = os.fdopen(descriptor, "rb", buffering=0)
        try:
            state = file_state(descriptor)
            if state.size_bytes >= LARGE_BODY:
                body = large_body(os.fdopen(os.dup(descriptor), "rb"))
            else:
                body = _body(file.readall())
            try:
                self._refuse_unfinished(entry, body, descriptor, path, state)
            except BaseException:
                body.close()
                raise
        except OSError as error:
            raise unreadable(source, error) from error
        finally:
            file.close()
        modified_at = state.modified_at if path is not None else None
        if isinstance(body.content, bytes):
            return replace(body, modified_at=modified_at)
        recheck = partial(_refuse_changed, body.content, source, state)
        return replace(body, modified_at=modified_at, recheck=recheck)

    def _refuse_unfinished(
        self, entry: Entry, body: Body, descriptor: int, path: Path | None, state: FileState
    ) -> None:
        """Raises SourceUnfinishedError when the file changed while it was read, or was replaced, or lacks its end."""
        if file_state(descriptor) != state or body.size_bytes != state.size_bytes:
            raise _unfinished(entry.object_source)
        if path is not None and was_replaced(path, state):
            raise _unfinished(entry.object_source)
        written_at = entry.happened_at if path is None else state.modified_at
        is_fresh = 0 <= self._now() - written_at < WRITTEN_WITHIN_SECONDS
        if is_fresh and isinstance(body.content, bytes):
            content = body.content
            if not looks_whole(content[:EDGE_BYTES], content[-EDGE_BYTES:], len(content)):
                raise _unfinished(entry.object_source)

    def _playlist_of(self, event_id: str) -> bytes:
        try:
            return self._playlist(event_id)
        except (LedgerError, sqlite3.Error) as error:
            raise SourceUnreachableError(f"The playlist of a clip cannot be made now: {error}") from error


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells whether a file is still the same, and unchanged."""

    size_bytes: int
    modified_ns: int
    inode: tuple[int, int]
    """Device and number."""
    modified_at: float
    """Unix seconds, as `st_mtime` gives them."""


def file_state(descriptor: int) -> FileState:
    """Return the state of an open file. Raises OSError."""
    status = os.fstat(descriptor)
    return FileState(status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino), status.st_mtime)


def was_replaced(path: Path, state: FileState) -> bool:
    """Whether another file is under the path by now; one that was deleted since it was opened is whole all the same.

    Some network file systems give a file another number at each look, so a number alone is no proof.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return False
    is_other = (status.st_dev, status.st_ino) != state.inode
    return is_other and (status.st_size, status.st_mtime_ns) != (state.size_bytes, state.modified_ns)


def _unfinished(source: str) -> SourceUnfinishedError:
    return SourceUnfinishedError(f"{source.removeprefix(RECORDING)} is still being written.")


def _refuse_changed(file: BinaryIO, source: str, state: FileState) -> None:
    try:
        is_same = file_state(file.fileno()) == state
    except OSError as error:
        raise unreadable(source, error) from error
    if not is_same:
        raise _unfinished(source)


def large_body(file: BinaryIO) -> Body:
    """Read it once for its checksum, a part at a time, and leave it open at its beginning. Raises OSError."""
    sha256, size = hashlib.sha256(), 0
    try:
        while part := file.read(PART):
            sha256.update(part)
            size += len(part)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return Body(file, size, sha256.hexdigest())


def _body(content: bytes) -> Body:
    return Body(content, len(content), hashlib.sha256(content).hexdigest())


def _thumbnail(event_id: str, database_path: Path) -> bytes:
    database = FrigateDatabase(database_path, Filters())
    try:
        text = database.inline_thumbnail(event_id)
    except FrigateError as error:  # a busy or unreachable database says nothing about the thumbnail
        raise SourceUnreachableError(str(error)) from error
    except OSError as error:
        raise SourceUnreadableError(
            f"Frigate's database {database_path} cannot be read ({error.strerror}); check FRIGATE_DB_PATH.",
            error.errno or 0,
        ) from error
    finally:
        database.close()
    if not text:
        raise SourceVanishedError(f"the thumbnail of event {event_id}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: letters that are no ASCII
        raise SourceRefusedError(f"the thumbnail of event {event_id} is not base64") from error

"""What is sent for an entry: a file of Frigate's, a thumbnail out of its row, or a document made from what is known."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Filters, FrigateDatabase, FrigateError
from frigate_s3_mirror.keys import metadata_document
from frigate_s3_mirror.s3 import LARGE_BODY, PART, parts_etag
from frigate_s3_mirror.sending import Body
from frigate_s3_mirror.sources import RECORDING, Files, SourceRefusedError, SourceVanishedError
from frigate_s3_mirror.spool import Spool

ROW_THUMBNAIL = "row:thumbnail"
ROW_METADATA = "row:metadata"
PLAYLIST = "ledger:playlist"


class BodyReader:
    """Reads the content of entries; see sending.Reader."""

    def __init__(
        self, pictures: Files, recordings: Files, database_path: Path, spool: Spool, playlist: Callable[[str], bytes]
    ) -> None:
        """`playlist` makes the one of an event."""
        self._pictures, self._recordings, self._playlist = pictures, recordings, playlist
        self._database_path, self._spool = database_path, spool

    def read(self, entry: Entry) -> Body:
        """Raises SourceVanishedError, SourceRefusedError or SourceUnreachableError."""
        match entry.source:
            case source if source == ROW_METADATA:
                return _body(metadata_document(entry.event))
            case source if source == ROW_THUMBNAIL:
                return _body(_thumbnail(entry.event.id, self._database_path))
            case source if source == PLAYLIST:
                return _body(self._playlist(entry.event.id))
        if not entry.event.is_named_safely:
            raise SourceRefusedError(
                f"its camera '{entry.event.camera}' or id '{entry.event.id}' is no name of Frigate's"
            )
        if entry.source is None:
            raise SourceRefusedError(f"no file of event {entry.event.id} was ever seen")
        return _of_file(*self._open(entry.source), entry.source)

    def _open(self, source: str) -> tuple[int, int]:
        """Frigate's file, or what the spool kept of it."""
        if source.startswith(RECORDING):
            return self._recordings.open(source.removeprefix(RECORDING))
        if self._spool.holds(source) and self._pictures.path(source) is None:
            return self._spool.read(source)  # nearer than Frigate
        try:
            return self._pictures.open(source)
        except SourceVanishedError:
            return self._spool.read(source)


def _of_file(descriptor: int, size: int, source: str) -> Body:
    file = os.fdopen(descriptor, "rb", buffering=0)
    try:
        if size >= LARGE_BODY:
            return large_body(os.fdopen(os.dup(descriptor), "rb"))
        return _body(file.readall())
    except OSError as error:
        raise SourceRefusedError(f"{source} cannot be read ({error.strerror})") from error
    finally:
        file.close()


def large_body(file: BinaryIO) -> Body:
    """Read it once for its checksums, a part at a time, and leave it open at its beginning."""
    sha256, digests, size = hashlib.sha256(), list[bytes](), 0
    try:
        while part := file.read(PART):
            sha256.update(part)
            digests.append(hashlib.md5(part, usedforsecurity=False).digest())
            size += len(part)
        file.seek(0)
    except OSError:
        file.close()
        raise
    return Body(file, size, sha256.hexdigest(), parts_etag(digests))


def _body(content: bytes) -> Body:
    return Body(content, len(content), hashlib.sha256(content).hexdigest())


def _thumbnail(event_id: str, database_path: Path) -> bytes:
    database = FrigateDatabase(database_path, Filters())
    try:
        text = database.inline_thumbnail(event_id)
    except FrigateError as error:
        raise SourceRefusedError(str(error)) from error
    finally:
        database.close()
    if not text:
        raise SourceVanishedError(f"the thumbnail of event {event_id}")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise SourceRefusedError(f"the thumbnail of event {event_id} is not base64") from error

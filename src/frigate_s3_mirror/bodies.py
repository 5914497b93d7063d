"""What is sent for an entry: a file of Frigate's, a thumbnail out of its row, or a document made from the event."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path

from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Filters, FrigateDatabase, FrigateError
from frigate_s3_mirror.keys import metadata_document
from frigate_s3_mirror.s3 import LARGE_BODY
from frigate_s3_mirror.sending import Body
from frigate_s3_mirror.sources import SourceRefusedError, SourceVanishedError, open_source
from frigate_s3_mirror.spool import Spool

ROW_THUMBNAIL = "row:thumbnail"
ROW_METADATA = "row:metadata"


class BodyReader:
    """Reads the content of entries; see sending.Reader."""

    def __init__(self, clips_dir: Path, database_path: Path, spool: Spool) -> None:
        self._clips_dir, self._database_path, self._spool = clips_dir, database_path, spool

    def read(self, entry: Entry) -> Body:
        """Raises SourceVanishedError or SourceRefusedError."""
        if entry.source == ROW_METADATA:
            return _body(metadata_document(entry.event))
        if entry.source == ROW_THUMBNAIL:
            return _body(_thumbnail(entry.event.id, self._database_path))
        if not entry.event.is_named_safely:
            raise SourceRefusedError(
                f"its camera '{entry.event.camera}' or id '{entry.event.id}' is no name of Frigate's"
            )
        return self._read(*self._open(entry.source), entry.source)

    def _open(self, source: str) -> tuple[int, int]:
        """Frigate's file, or what the spool kept of it."""
        try:
            return open_source(self._clips_dir, source)
        except SourceVanishedError:
            return self._spool.read(source)

    def _read(self, descriptor: int, size: int, source: str) -> Body:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            try:
                if size >= LARGE_BODY:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                    return Body(None, size, digest, reopen=lambda: os.fdopen(self._open(source)[0], "rb"))
                return _body(file.readall())
            except OSError as error:
                raise SourceRefusedError(f"{source} cannot be read ({error.strerror})") from error


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
